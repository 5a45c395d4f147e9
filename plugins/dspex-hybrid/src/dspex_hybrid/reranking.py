"""A retriever whose passages are put into a better order by something slower than a search."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from math import isfinite
from typing import Any

import msgspec

import dspex
from dspex.plugin import Condition, ConfigurationError, Passage, RetrieverError, by_parts

Rerank = Callable[[str, list[Passage]], Sequence[float] | Awaitable[Sequence[float]]]

CANDIDATES = 30
AT_A_TIME = 8


def reranked(
    retriever: dspex.Retriever, rerank: Rerank, *, candidates: int = CANDIDATES, k: int = 3
) -> dspex.Retriever:
    """A retriever that asks another for `candidates`, and gives the `k` of them that `rerank` scores highest.

    `rerank(query, passages)` gives a number a passage, higher is better; sync code runs in a thread, and one that is async may
    ask a model. Of equal ones the order stays. A program, as a `Predict` in a function of yours, does as well as a
    cross-encoder. What it raises, or gives that is no number a passage, ends as a RetrieverError.
    """
    name = getattr(rerank, "__name__", type(rerank).__name__)
    provider = Reranked(retriever, rerank, candidates)
    return dspex.Retriever(f"reranked({retriever.name},{name})", provider=provider, k=k, num_retries=0)


class Reranked:
    """The RetrieverProvider of `reranked`."""

    def __init__(self, retriever: dspex.Retriever, rerank: Rerank, candidates: int = CANDIDATES) -> None:
        if candidates < 1:
            raise ConfigurationError(f"candidates={candidates}: one at least.")
        if not callable(rerank):
            raise ConfigurationError(f"rerank is a function of a query and its passages, not {rerank!r:.60}.")
        self._retriever = retriever
        self._rerank: Any = dspex.asyncify(rerank)
        self._candidates = candidates

    async def retrieve(self, query: str, k: int) -> list[Passage]:
        """The k best."""
        return (await self.search([query], k, ()))[0]

    async def search(self, queries: list[str], k: int, where: tuple[Condition, ...]) -> list[list[Passage]]:
        """The k best of each query's candidates."""
        found = await self._retriever.acall(queries, max(k, self._candidates), where=where)

        async def ordered(pairs: Sequence[tuple[str, list[Passage]]]) -> list[Passage]:
            return (await self._ordered(*pairs[0]))[:k]

        return await by_parts(list(zip(queries, found, strict=True)), 1, ordered, at_once=AT_A_TIME)

    async def _ordered(self, query: str, passages: list[Passage]) -> list[Passage]:
        if not passages:
            return []
        scores = _checked(await self._scores(query, passages), len(passages))
        scored = [msgspec.structs.replace(one, score=score) for one, score in zip(passages, scores, strict=True)]
        return sorted(scored, key=lambda passage: -passage.score)

    async def _scores(self, query: str, passages: list[Passage]) -> Any:
        try:
            given = await self._rerank(query, list(passages))
            return await given if inspect.isawaitable(given) else given
        except RetrieverError:
            raise
        except Exception as error:  # the function is the user's
            raise RetrieverError(
                f"The reranking of {len(passages)} passages failed: {type(error).__name__}: {error}"
            ) from error

    async def add(self, passages: Sequence[Passage]) -> None:
        """Put passages into the retriever."""
        await self._retriever.aadd(passages)

    async def delete(self, ids: Sequence[str]) -> None:
        """Take passages out of the retriever."""
        await self._retriever.adelete(ids)


def _checked(given: Any, count: int) -> list[float]:
    try:
        scores = [float(score) for score in given]
    except (TypeError, ValueError) as error:
        raise RetrieverError(f"The reranking gave {given!r:.80}, which is no number a passage.") from error
    if len(scores) != count or not all(map(isfinite, scores)):
        raise RetrieverError(
            f"The reranking gave {len(scores)} scores for {count} passages, all of which must be finite."
        )
    return scores
