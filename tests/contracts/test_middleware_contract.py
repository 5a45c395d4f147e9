"""The kit for middleware: good ones pass all of it, and each kind of bad one fails the test that is about it."""

import asyncio
import time

import pytest

import dspex
from dspex.plugin import LMResponse
from dspex.testing.middleware_contract import MiddlewareContract

TESTS = [name for name in vars(MiddlewareContract) if name.startswith("test_")]


class Good:
    """Counts, and knows streams and searches."""

    def __init__(self):
        self.calls = 0

    async def __call__(self, request, call_next):
        self.calls += 1
        return await call_next(request)

    async def stream(self, request, call_next):
        self.calls += 1
        async for piece in call_next(request):
            yield piece

    async def retrieve(self, request, call_next):
        return await call_next(request)


async def plain(request, call_next):
    return await call_next(request)


def kit(made, limit=1):
    class Kit(MiddlewareContract):
        calls = limit

        def make(self):
            return made() if isinstance(made, type) else made

    return Kit()


@pytest.mark.parametrize("name", TESTS)
@pytest.mark.parametrize("made", [Good, plain], ids=["whole", "a function"])
def test_a_good_middleware_passes(made, name):
    getattr(kit(made), name)()


class AsksTwice(Good):
    async def __call__(self, request, call_next):
        await call_next(request)
        return await call_next(request)


class GivesText(Good):
    async def __call__(self, request, call_next):
        return (await call_next(request)).text


class ChangesParams(Good):
    async def __call__(self, request, call_next):
        request.params["temperature"] = 0.0
        return await call_next(request)


class RaisesItsOwn(Good):
    async def __call__(self, request, call_next):
        try:
            return await call_next(request)
        except dspex.LMError as error:
            raise KeyError("mine") from error


class SwallowsCancellation(Good):
    async def __call__(self, request, call_next):
        try:
            return await call_next(request)
        except asyncio.CancelledError:
            return LMResponse.from_text("never mind")


class GoesOnWhenCancelled(Good):
    async def __call__(self, request, call_next):
        return await asyncio.shield(asyncio.ensure_future(call_next(request)))


class OneAtATime(Good):
    def __init__(self):
        super().__init__()
        self.turn = asyncio.Semaphore(10)

    async def __call__(self, request, call_next):
        async with self.turn:
            return await call_next(request)


class KeepsTheLastReply(Good):
    last = None

    async def __call__(self, request, call_next):
        self.last = await call_next(request)
        await asyncio.sleep(0)
        return self.last


class BoundToOneLoop(Good):
    loop = None

    async def __call__(self, request, call_next):
        self.loop = self.loop or asyncio.get_running_loop()
        assert self.loop is asyncio.get_running_loop()
        return await call_next(request)


class LosesTheEnd(Good):
    async def stream(self, request, call_next):
        async for piece in call_next(request):
            if not piece.finish_reason:
                yield piece


class SaysOtherThingsInStreams(Good):
    async def __call__(self, request, call_next):
        reply = await call_next(request)
        return LMResponse.from_text(reply.text + "!", reply.usage)


class CollectsPieces(Good):
    async def stream(self, request, call_next):
        for piece in [piece async for piece in call_next(request)]:
            yield piece


class ReadsOnBehindTheReader(Good):
    async def stream(self, request, call_next):
        queue = asyncio.Queue()

        async def read():
            async for piece in call_next(request):
                await asyncio.sleep(0.01)
                queue.put_nowait(piece)

        self.task = asyncio.ensure_future(read())
        while True:
            piece = await queue.get()
            yield piece
            if piece.finish_reason:
                return


class GivesATuple(Good):
    async def retrieve(self, request, call_next):
        return tuple(await call_next(request))


class GivesTexts(Good):
    async def retrieve(self, request, call_next):
        return [passage.text for passage in await call_next(request)]


class LeavesATask(Good):
    async def __call__(self, request, call_next):
        self.task = asyncio.ensure_future(asyncio.sleep(1e6))
        return await call_next(request)


class FailsBadlyInSearches(Good):
    async def retrieve(self, request, call_next):
        try:
            return await call_next(request)
        except dspex.DspexError:
            raise SystemExit(1) from None


class MakesNothingOfErrors(Good):
    async def __call__(self, request, call_next):
        try:
            return await call_next(request)
        except dspex.LMError:
            return None


class HoldsTheLoop(Good):
    async def __call__(self, request, call_next):
        time.sleep(0.2)  # noqa: ASYNC251  that is the fault
        return await call_next(request)


class HoldsTheLoopInStreams(Good):
    async def stream(self, request, call_next):
        time.sleep(0.2)  # noqa: ASYNC251  as above
        async for piece in call_next(request):
            yield piece


class SwallowsCancelledSearches(Good):
    async def retrieve(self, request, call_next):
        try:
            return await call_next(request)
        except asyncio.CancelledError:
            return []


@pytest.mark.parametrize(
    ("made", "about"),
    [
        (AsksTwice, "no_more_often"),
        (GivesText, "no_more_often"),
        (LeavesATask, "no_more_often"),
        (ChangesParams, "not_changed"),
        (RaisesItsOwn, "one_of_ours_or"),
        (MakesNothingOfErrors, "one_of_ours_or"),
        (SwallowsCancellation, "cancelled_it_ends"),
        (GoesOnWhenCancelled, "cancelled_it_ends"),
        (SwallowsCancelledSearches, "cancelled_search"),
        (HoldsTheLoop, "holds_no_loop"),
        (HoldsTheLoopInStreams, "holds_no_loop"),
        (OneAtATime, "under_way_together"),
        (KeepsTheLastReply, "under_way_together"),
        (BoundToOneLoop, "several_loops"),
        (LosesTheEnd, "a_stream_says"),
        (SaysOtherThingsInStreams, "a_stream_says"),
        (CollectsPieces, "as_they_arrive"),
        (ReadsOnBehindTheReader, "stops_early"),
        (GivesATuple, "in_passages"),
        (GivesTexts, "in_passages"),
        (FailsBadlyInSearches, "one_of_our_errors"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_bad_middleware_fails_the_test_that_is_about_it(made, about, monkeypatch):
    monkeypatch.setattr("dspex.testing.middleware_contract.LIMIT_S", 1.0)
    [name] = [name for name in TESTS if about in name]
    with pytest.raises((AssertionError, dspex.DspexError, TimeoutError, SystemExit)):
        getattr(kit(made), name)()


def test_how_often_it_may_ask_is_for_it_to_say():
    [name] = [name for name in TESTS if "no_more_often" in name]
    getattr(kit(AsksTwice, 2), name)()
    getattr(kit(AsksTwice, None), name)()
