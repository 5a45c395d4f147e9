"""The kit for embeddings: a good provider passes all of it, and each kind of bad one fails the test that is about it."""

import array
import asyncio
import os
import re
import threading
import time
import zlib

import msgspec
import pytest

import dspex
from dspex.plugin import Usage, Vectors
from dspex.testing import EmbeddingContract

TESTS = [name for name in vars(EmbeddingContract) if name.startswith("test_")]
DIM = 64


class Options(msgspec.Struct):
    pass


class Good:
    """Counts of hashed words and letters; it refuses what has no form in UTF-8."""

    def __init__(self, endpoint, http=None):
        self.key = endpoint.api_key

    def row(self, text):
        counts = [0.01] * DIM
        for word in re.findall(r"\w+", text.lower()):
            counts[zlib.crc32(word.encode()) % DIM] += 1.0
        for letter in text[:1000]:
            counts[zlib.crc32(letter.encode()) % DIM] += 0.01
        return counts

    def vectors(self, texts):
        try:
            "".join(texts).encode()
        except UnicodeEncodeError as error:
            raise dspex.BadRequest(f"A text has no form in UTF-8: {error.reason}") from error
        data = array.array("f", [value for text in texts for value in self.row(text)])
        return Vectors(data, DIM, Usage(sum(1 + len(text) for text in texts)))

    async def embed(self, texts):
        await asyncio.sleep(0)
        return self.vectors(texts)

    async def aclose(self):
        pass


class GivesBackInOrderOfLength(Good):
    def vectors(self, texts):
        return super().vectors(sorted(texts, key=len))


class LooksAtTheFirstOnly(Good):
    def vectors(self, texts):
        return super().vectors([texts[0]] * len(texts))


class IsMovedByOthers(Good):
    def vectors(self, texts):
        given = super().vectors(texts)
        for place in range(len(given.data)):
            given.data[place] += len(texts) * (place % 7)
        return given


class GivesNaN(Good):
    def row(self, text):
        return [float("nan") if len(text) > 50_000 else value for value in super().row(text)]


class GivesInfinity(Good):
    def row(self, text):
        return [float("inf"), *super().row(text)[1:]]


class GivesZeros(Good):
    def row(self, text):
        return [0.0] * DIM


class GivesOneVectorForAll(Good):
    def row(self, text):
        return [1.0] * DIM


class KnowsNoMeaning(Good):
    def row(self, text):
        seed = zlib.crc32(text.encode())
        return [((seed >> (place % 32)) & 1) - 0.5 + 0.001 * place for place in range(DIM)]


class CountsNothing(Good):
    def vectors(self, texts):
        return Vectors(super().vectors(texts).data, DIM)


class CountsNone(Good):
    def vectors(self, texts):
        return Vectors(super().vectors(texts).data, DIM, Usage(0))


class BreaksAtSurrogates(Good):
    def vectors(self, texts):
        "".join(texts).encode()
        return super().vectors(texts)


class NeverRecoversFromAnOddText(Good):
    broken = False

    def vectors(self, texts):
        self.broken = self.broken or "" in texts
        if self.broken:
            raise dspex.BadRequest("empty")
        return super().vectors(texts)


class MixesUpReplies(Good):
    last = None

    async def embed(self, texts):
        self.last = self.vectors(texts)
        await asyncio.sleep(0.001)
        return self.last


class HoldsTheLoop(Good):
    async def embed(self, texts):
        end = time.thread_time() + 0.01 * len(texts)
        while time.thread_time() < end:
            pass
        return self.vectors(texts)


class WaitsOnTheLoop(Good):
    async def embed(self, texts):
        time.sleep(0.2)  # noqa: ASYNC251  that is the fault
        return self.vectors(texts)


class SwallowsCancellation(Good):
    async def embed(self, texts):
        for _ in range(50):
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                continue
        return self.vectors(texts)


class LeavesATaskBehind(Good):
    async def embed(self, texts):
        self.task = asyncio.ensure_future(asyncio.sleep(3600))
        return self.vectors(texts)


class BoundToOneLoop(Good):
    loop = None

    async def embed(self, texts):
        self.loop = self.loop or asyncio.get_running_loop()
        if self.loop is not asyncio.get_running_loop():
            raise RuntimeError("attached to a different loop")
        return self.vectors(texts)


class BoundToOneProcess(Good):
    pid = None

    async def embed(self, texts):
        self.pid = self.pid or os.getpid()
        if self.pid != os.getpid():
            raise dspex.Unavailable("a foreign process", retryable=False)
        return self.vectors(texts)


class LeavesAThreadBehind(Good):
    ends = []  # noqa: RUF012  the test ends what is left

    async def embed(self, texts):
        end = threading.Event()
        self.ends.append(end)
        threading.Thread(target=end.wait, daemon=True).start()
        return self.vectors(texts)


class CannotEndBeforeItBegan(Good):
    async def aclose(self):
        del self.never_made


class ShowsItsKey(Good):
    def __repr__(self):
        return f"ShowsItsKey({self.key.reveal()!r})"


def kit(provider, **attributes):
    class Kit(EmbeddingContract):
        soon_s = 0.3

        def spec(self):
            return dspex.Spec("mine", provider, options=Options)

    for name, value in attributes.items():
        setattr(Kit, name, value)
    return Kit()


@pytest.fixture(autouse=True)
def end_of_threads():
    yield
    while LeavesAThreadBehind.ends:
        LeavesAThreadBehind.ends.pop().set()


@pytest.mark.parametrize("name", TESTS)
def test_a_good_provider_passes(name):
    getattr(kit(Good), name)()


@pytest.mark.parametrize(
    ("provider", "about"),
    [
        (GivesBackInOrderOfLength, "each_text_has_a_row"),
        (LooksAtTheFirstOnly, "each_text_has_a_row"),
        (IsMovedByOthers, "each_text_has_a_row"),
        (GivesInfinity, "rows_are_finite"),
        (GivesZeros, "rows_are_finite"),
        (GivesOneVectorForAll, "rows_are_finite"),
        (KnowsNoMeaning, "one_meaning"),
        (CountsNothing, "counts_tokens"),
        (CountsNone, "counts_tokens"),
        (GivesNaN, "odd_texts"),
        (BreaksAtSurrogates, "odd_texts"),
        (NeverRecoversFromAnOddText, "odd_texts"),
        (MixesUpReplies, "side_by_side"),
        (HoldsTheLoop, "beside_the_loop"),
        (WaitsOnTheLoop, "beside_the_loop"),
        (SwallowsCancellation, "cancelled_call"),
        (LeavesATaskBehind, "cancelled_call"),
        (BoundToOneLoop, "several_loops"),
        (BoundToOneProcess, "forked_child"),
        (LeavesATaskBehind, "nothing_of_it_is_left"),
        (LeavesAThreadBehind, "nothing_of_it_is_left"),
        (CannotEndBeforeItBegan, "before_its_first_call"),
        (ShowsItsKey, "key_is_not_shown"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:.*never awaited", "ignore:.*fork"
)
def test_each_fault_is_noticed(provider, about):
    [name] = [name for name in TESTS if about in name]
    with pytest.raises((AssertionError, AttributeError, dspex.DspexError, TimeoutError)):
        getattr(kit(provider), name)()


def test_every_test_of_the_kit_can_fail():
    marks = [mark for mark in test_each_fault_is_noticed.pytestmark if mark.name == "parametrize"]
    abouts = [about for mark in marks for _, about in mark.args[1]]
    assert [name for name in TESTS if not any(about in name for about in abouts)] == []


def test_what_a_provider_does_not_claim_is_not_asked_of_it():
    for provider, about, claims in [
        (KnowsNoMeaning, "one_meaning", {"same_meaning": ()}),
        (CountsNothing, "counts_tokens", {"tells_usage": False}),
        (BoundToOneProcess, "forked_child", {"forks": False}),
    ]:
        [name] = [name for name in TESTS if about in name]
        getattr(kit(provider, **claims), name)()
