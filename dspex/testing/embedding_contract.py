"""What a provider of embeddings must do, as tests that a plugin's own test class inherits."""

import asyncio
import os
import threading
import time
from array import array
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite, sqrt
from types import MappingProxyType
from typing import Any, TypeAlias

from dspex.app.embedder import Embedder
from dspex.core.errors import BadRequest
from dspex.core.messages import LMResponse
from dspex.plugin.contracts import HttpClient
from dspex.plugin.manager import PluginManager
from dspex.plugin.spec import Spec
from dspex.testing.conduct import holder
from dspex.testing.lm_contract import ended, forked
from dspex.testing.one_plugin import KEY, lived, manager_of, provider_of

Work = Callable[[Embedder], Awaitable[None]]
Row: TypeAlias = "array[float]"  # a class without type parameters before Python 3.12

TEXTS = (
    "Rome is the capital of Italy.",
    "No.",
    "The weather was fine, so that we walked along the river, had lunch at the old mill, and came home after dark.",
    "A spider has eight legs.",
    "Ünïcode, 漢字, עברית and 🙂 are text too.",
    "x" * 40,
    "Paris is the capital of France.",
)
# Each is answered, or refused as a BadRequest before anything else is harmed.
ODD_TEXTS = MappingProxyType(
    {
        "empty": "",
        "blank": " \n\t",
        "NUL": "a\0b",
        "control": "\x1b[0m\x7f\u200b\u202e",
        "surrogate": "half of a pair: \ud83d",
        "long": "word " * 20_000,
        "one word": "a" * 50_000,
    }
)
SAME_MEANING = (
    ("A cat sleeps on the sofa.", "A kitten naps on the couch.", "The central bank raised its interest rate."),
    ("How do I reset my password?", "I forgot my login and need a new one.", "The recipe needs two eggs."),
)
LOOPS, THREADS = 2, 2


class EmbeddingContract:
    """Subclass it as `TestMine` and give `spec`, and `model` where not any will do.

    `options` are keywords of Embedder. `same_meaning` holds triples of texts, the first of which is nearer to the second than
    to the third; empty for a model that makes no such claim. `nearness` is the least cosine of one text's vectors, made
    alone and among others. `tells_usage` False: it does not count tokens. `forks` False: it cannot live in a forked child. `many`
    calls are made side by side, and `batch` texts in one call: fewer, where the model is slow.
    """

    model = "any"
    options: Mapping[str, Any] = MappingProxyType({})
    same_meaning: Collection[tuple[str, str, str]] = SAME_MEANING
    nearness = 0.999
    tells_usage = True
    forks = hasattr(os, "fork")
    many = 20
    batch = 64
    limit_s = 30.0
    soon_s = 2.0
    most_held_s = 0.2  # CPU seconds that one call may take of its loop's thread

    def spec(self) -> Spec:
        """What the plugin declares: `dspex_mine.dspex_embedders()[0]`."""
        raise NotImplementedError

    @contextmanager
    def served(self) -> Iterator[Mapping[str, Any]]:
        """Keywords of Embedder that say where the model is, while it is there."""
        yield {}

    # Running

    def plugins(self) -> PluginManager:
        """A manager that knows this one plugin."""
        spec = self.spec()
        return manager_of(spec.name, embedders=lambda: [spec])

    def live(self, work: Work) -> list[str]:
        """Run `work(embedder)` in an App of its own, where the model is served; the tasks that were left at its end."""
        with self.served() as place:
            return asyncio.run(self.life(work, place))

    async def life(self, work: Work, place: Mapping[str, Any]) -> list[str]:
        """`work(embedder)` in an App of its own; the tasks that were left when that had ended."""
        return await lived(self.plugins(), lambda: self.embedder(**place), work, self.limit_s)

    def embedder(self, **more: Any) -> Embedder:
        """A handle that makes one attempt a call, and keeps no vector."""
        fixed = {"caching": False, "num_retries": 0, "breaker": False}
        return Embedder(f"{self.spec().name}/{self.model}", **{**fixed, **self.options, **more})

    def provider(self, http: HttpClient | None = None, base_url: str | None = None) -> Any:
        """The provider itself, as the App makes it."""
        return provider_of(self.spec(), self.model, self.options, http, base_url)

    # The contract

    def test_each_text_has_a_row_in_its_place(self) -> None:
        async def work(embedder: Embedder) -> None:
            together = await rows(embedder, TEXTS)
            assert len(together) == len(TEXTS)
            for place, text in enumerate(TEXTS):
                [alone] = await rows(embedder, [text])
                near = cosine(alone, together[place])
                assert near >= self.nearness, f"{text!r:.40} alone and among others: a cosine of {near:.4f}"

        self.live(work)

    def test_rows_are_finite_numbers_of_one_length_that_tell_texts_apart(self) -> None:
        async def work(embedder: Embedder) -> None:
            found = await rows(embedder, TEXTS)
            assert len({len(row) for row in found}) == 1
            assert all(isfinite(value) for row in found for value in row)
            assert all(any(row) for row in found), "a row of zeros"
            assert len({row.tobytes() for row in found}) == len(TEXTS), "different texts have one vector"

        self.live(work)

    def test_texts_of_one_meaning_are_near(self) -> None:
        async def work(embedder: Embedder) -> None:
            for one, like, unlike in self.same_meaning:
                first, near, far = await rows(embedder, [one, like, unlike])
                assert cosine(first, near) > cosine(first, far), f"{one!r} is nearer to {unlike!r} than to {like!r}"

        self.live(work)

    def test_it_counts_tokens_where_it_says_so(self) -> None:
        async def work(embedder: Embedder) -> None:
            await embedder.embed(TEXTS[:1])  # the first call starts it
            provider = embedder.service.provider
            texts = list(TEXTS)[: getattr(provider, "most_texts", None)]
            usage = (await provider.embed(texts)).usage
            told = usage is not None and not usage.estimated
            assert told is self.tells_usage, "whether usage is told or guessed is not as `tells_usage` says"
            assert not told or (usage is not None and usage.input_tokens >= len(texts)), (
                "too few tokens for these texts"
            )

        self.live(work)

    def test_odd_texts_are_answered_or_refused_and_harm_no_other(self) -> None:
        async def work(embedder: Embedder) -> None:
            [good] = await rows(embedder, TEXTS[:1])
            for name, text in ODD_TEXTS.items():
                try:
                    [row] = await rows(embedder, [text])
                except BadRequest:
                    continue
                assert len(row) == len(good), name
                assert all(map(isfinite, row)), f"{name}: not finite"
            assert cosine(good, (await rows(embedder, TEXTS[:1]))[0]) >= self.nearness

        self.live(work)

    def test_calls_side_by_side_have_their_own_rows(self) -> None:
        async def work(embedder: Embedder) -> None:
            asked = [f"{TEXTS[number % len(TEXTS)]} Number {number}." for number in range(self.many)]
            together = await rows(embedder, asked)
            apart = await asyncio.gather(*(rows(embedder, [text]) for text in asked))
            wrong = [
                text for text, row, [own] in zip(asked, together, apart, strict=True) if not self.is_same(row, own)
            ]
            assert not wrong, f"other vectors than among others: {wrong[:3]}"

        self.live(work)

    def is_same(self, one: Row, other: Row) -> bool:
        """Whether two vectors are one text's."""
        return cosine(one, other) >= self.nearness

    def test_its_work_is_done_beside_the_loop(self) -> None:
        async def work(embedder: Embedder) -> None:
            await embedder.embed(TEXTS[:1])  # the first call loads what it needs
            began = time.thread_time()
            await embedder.embed([f"{number}. {TEXTS[2]}" for number in range(self.batch)])
            held = time.thread_time() - began
            assert held <= self.most_held_s, f"{self.batch} texts took {held:.2f} CPU seconds of the loop's own thread"
            waited = await holder(lambda: embedder.embed([TEXTS[0]]))
            assert not waited, waited

        self.live(work)

    def test_a_cancelled_call_ends_at_once_and_harms_no_other(self) -> None:
        async def work(embedder: Embedder) -> None:
            for turns in range(4):
                task = asyncio.ensure_future(embedder.embed(TEXTS))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                done, _ = await asyncio.wait([task], timeout=self.soon_s)
                assert done, f"cancelled in turn {turns}, it went on"
            assert len(await rows(embedder, TEXTS[:2])) == 2

        assert not self.live(work), "tasks go on behind cancelled calls"

    def test_it_is_used_from_several_loops_and_threads_at_once(self) -> None:
        async def client(embedder: Embedder) -> list[Row]:
            one, other = await asyncio.gather(*(rows(embedder, TEXTS[:2]) for _ in range(2)))
            return one + other

        async def work(embedder: Embedder) -> None:
            def serve() -> list[Row]:
                return [row for _ in range(LOOPS) for row in asyncio.run(client(embedder))]

            # All, also where one fails: the App must not end under their loops.
            ends = await asyncio.gather(*(asyncio.to_thread(serve) for _ in range(THREADS)), return_exceptions=True)
            alone = await client(embedder)
            for end in ends:
                if isinstance(end, BaseException):
                    raise end
                assert len(end) == LOOPS * len(alone)
                assert all(map(self.is_same, end, alone * LOOPS)), "other vectors than one loop alone is given"

        self.live(work)

    def test_a_forked_child_answers_and_so_does_its_parent(self) -> None:
        async def work(embedder: Embedder) -> None:
            [before] = await rows(embedder, TEXTS[:1])

            async def child() -> LMResponse:
                [inside] = await rows(embedder, TEXTS[:1])
                assert self.is_same(before, inside)
                return LMResponse.from_text("the same")

            code = await asyncio.to_thread(ended, forked(child), self.limit_s / 2)
            assert code == 0, "the child failed"
            assert self.is_same(before, (await rows(embedder, TEXTS[:1]))[0])

        if self.forks:
            self.live(work)

    def test_its_app_lets_it_go_and_nothing_of_it_is_left(self) -> None:
        async def work(embedder: Embedder) -> None:
            await embedder.embed(TEXTS[:2])

        before = set(threading.enumerate())
        assert not self.live(work), "tasks go on"
        end = time.monotonic() + self.soon_s
        while left := [one.name for one in threading.enumerate() if one not in before]:
            assert time.monotonic() < end, f"threads live on: {left}"
            time.sleep(0.01)

    def test_it_can_be_let_go_before_its_first_call(self) -> None:
        async def let_go(provider: Any) -> None:
            close = getattr(provider, "aclose", None)
            if close is not None:
                await close()

        asyncio.run(let_go(self.provider()))

    def test_its_key_is_not_shown(self) -> None:
        provider = self.provider()
        assert KEY not in f"{provider} {provider!r}"


async def rows(embedder: Embedder, texts: Sequence[str]) -> list[Row]:
    """The vectors of texts, a row each."""
    return [array("f", row) for row in await embedder.embed(list(texts))]


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """How near two vectors are: 1.0 in one direction, 0.0 at right angles; -1.0 where the lengths differ."""
    if len(one) != len(other):
        return -1.0
    dot = sum(map(float.__mul__, one, other))
    return dot / (sqrt(sum(x * x for x in one)) * sqrt(sum(x * x for x in other)) or 1.0)
