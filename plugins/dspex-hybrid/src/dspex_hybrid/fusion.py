"""Several retrievers as one, by reciprocal rank fusion (Cormack, Clarke & Buettcher 2009)."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from math import isfinite
from typing import Any, TypeVar

import msgspec

import dspex
from dspex.plugin import Condition, ConfigurationError, Passage

T = TypeVar("T")

# The paper's: a first place counts little more than a second, so that being found twice counts more.
RANK_OFFSET = 60
LEAST_DEPTH = 50


def fused(
    *retrievers: dspex.Retriever, weights: Sequence[float] | None = None, depth: int | None = None, k: int = 3
) -> dspex.Retriever:
    """A retriever of the passages that all of these find, two at least, those first that stand high in several lists.

    A passage's score is the sum over the lists of weight / (60 + its rank there). Passages are the same by their id, else by
    their text. `depth` is how many each is asked for: None is 50, or k where that is more. Conditions and lists of queries go
    to each; `add` and `delete` change all. Results are kept where the single retrievers keep theirs. Raises ConfigurationError.
    """
    provider = Fused(retrievers, weights, depth)
    return dspex.Retriever(f"fused({','.join(one.name for one in retrievers)})", provider=provider, k=k, num_retries=0)


class Fused:
    """The RetrieverProvider of `fused`."""

    def __init__(
        self, retrievers: Sequence[dspex.Retriever], weights: Sequence[float] | None = None, depth: int | None = None
    ) -> None:
        if len(retrievers) < 2:
            raise ConfigurationError(f"Fusion takes two retrievers or more, not {len(retrievers)}.")
        given = [1.0] * len(retrievers) if weights is None else list(weights)
        if len(given) != len(retrievers) or not all(isfinite(one) and one >= 0 for one in given) or not any(given):
            raise ConfigurationError(f"weights={weights!r}: one a retriever, zero or more, and not all of them zero.")
        if depth is not None and depth < 1:
            raise ConfigurationError(f"depth={depth}: each retriever is asked for one passage at least.")
        self._retrievers = tuple(retrievers)
        self._weights = given
        self._depth = depth or LEAST_DEPTH

    async def retrieve(self, query: str, k: int) -> list[Passage]:
        """The k best of all."""
        return (await self.search([query], k, ()))[0]

    async def search(self, queries: list[str], k: int, where: tuple[Condition, ...]) -> list[list[Passage]]:
        """The k best of all, for each query."""
        depth = max(k, self._depth)
        found = await together(one.acall(queries, depth, where=where) for one in self._retrievers)
        return [merged(lists, self._weights)[:k] for lists in zip(*found, strict=True)]

    async def add(self, passages: Sequence[Passage]) -> None:
        """Put passages into all."""
        await together(one.aadd(passages) for one in self._retrievers)

    async def delete(self, ids: Sequence[str]) -> None:
        """Take passages out of all."""
        await together(one.adelete(ids) for one in self._retrievers)


def merged(lists: Sequence[Sequence[Passage]], weights: Sequence[float]) -> list[Passage]:
    """Ranked lists as one, best first; equal ones in the order of the first list."""
    scores: dict[tuple[bool, str], float] = {}
    passages: dict[tuple[bool, str], Passage] = {}
    for ranked, weight in zip(lists, weights, strict=True):
        different: dict[tuple[bool, str], Passage] = {}
        for passage in ranked:  # one that stands there twice has its first rank only
            different.setdefault((bool(passage.id), passage.id or passage.text), passage)
        for rank, (key, passage) in enumerate(different.items(), 1):
            passages.setdefault(key, passage)
            scores[key] = scores.get(key, 0.0) + weight / (RANK_OFFSET + rank)
    ordered = sorted(passages, key=lambda key: -scores[key])
    return [msgspec.structs.replace(passages[key], score=scores[key]) for key in ordered]


async def together(doing: Iterable[Awaitable[T]]) -> list[T]:
    """Results of all, side by side; the first error as it is, and the others cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_result(one)) for one in doing]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _result(one: Awaitable[Any]) -> Any:
    return await one
