"""A call that is cancelled at any of its awaits gives everything back: permit, reservation, place in a queue, task."""

import asyncio
import itertools
import types
from contextlib import aclosing
from functools import partial

import pytest

import dspex
from dspex.plugin import LMDelta, LMResponse, Message, Unavailable, Usage
from dspex.plugin.manager import PluginManager
from dspex.testing import VirtualClock, simulate


class Uncertain:
    """A provider and cache in one, that waits at each step; the first attempt of each request fails."""

    patience = 60.0  # as a cache it is slow, and is to be waited for at each of its steps

    def __init__(self):
        self.asked = set()

    async def start(self):
        await asyncio.sleep(0.1)

    async def complete(self, request):
        await asyncio.sleep(1.0)
        known, key = len(self.asked), repr(request)
        self.asked.add(key)
        if len(self.asked) > known:
            raise Unavailable("down")
        return LMResponse.from_text("[[ ## answer ## ]]\n4", Usage(10, 5))

    async def stream(self, request):
        try:
            for piece in ("[[ ## answer ## ]]\n", "4"):
                await asyncio.sleep(1.0)
                yield LMDelta(piece)
            yield LMDelta("", finish_reason="stop", usage=Usage(10, 5))
        finally:
            await asyncio.sleep(0.1)

    async def get(self, key):
        await asyncio.sleep(0.1)

    async def set(self, key, value, ttl=None):
        await asyncio.sleep(0.1)

    async def aclose(self): ...


class Waiting:
    """Middleware that waits before and after."""

    async def __call__(self, request, call_next):
        await asyncio.sleep(0.1)
        reply = await call_next(request)
        await asyncio.sleep(0.1)
        return reply

    async def stream(self, request, call_next):
        await asyncio.sleep(0.1)
        async for piece in call_next(request):
            yield piece


@types.coroutine
def cancelled_at(work, place):
    """Run a coroutine whose task is cancelled at its await number `place`; False if it has fewer."""
    task, step = asyncio.current_task(), partial(work.send, None)
    for count in itertools.count():
        try:
            awaited = step()
        except StopIteration:
            return False
        if count == place:
            task.cancel()
        try:
            yield awaited
            step = partial(work.send, None)
        except BaseException as error:
            step = partial(work.throw, error)


async def streamed(lm):
    async with aclosing(lm.stream(lm.request((Message.of("user", "2+2?"),), {}))) as pieces:
        async for _ in pieces:
            await asyncio.sleep(0)


CALLS = {
    "call": lambda lm: lm.acall("2+2?"),
    "predict": lambda lm: dspex.Predict("question -> answer").acall(question="2+2?", lm=lm),
    "n": lambda lm: lm.acall("2+2?", n=3),
    "stream": streamed,
    "hedged": lambda lm: lm.copy(hedge_after=0.5).acall("2+2?"),
    "fallback": lambda lm: dspex.Fallback(lm, lm.copy(temperature=1.0)).acall("2+2?"),
}


@pytest.mark.slow
@pytest.mark.fault("P14")
@pytest.mark.fault("R16")
@pytest.mark.parametrize("busy", [False, True], ids=["alone", "in a queue"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_cancelled_at_every_await_it_gives_all_back(call, busy):
    async def once(place):
        provider = Uncertain()
        settings = {"cache": provider, "middleware": [Waiting()], "clock": VirtualClock()}
        async with dspex.App(plugins=PluginManager(lambda: ()), seed=place, **settings) as app:
            lm = dspex.LM("x/y", provider=provider, max_in_flight=2, requests_per_minute=300, breaker=False)
            others = [asyncio.create_task(lm.acall(f"{number}?")) for number in range(6 if busy else 0)]
            with dspex.budget(calls=50, tokens=500_000) as budget:
                task = asyncio.create_task(cancelled(call(lm), place))
                was_cancelled = await task
            await asyncio.gather(*others)
            await asyncio.sleep(0)
            limits, left = lm.service.attempts.limits, budget.left.calls + budget.spent.calls
            state = (limits.used, limits._queue.size, left, app.under_way.count, len(asyncio.all_tasks()))
            assert state == (0, 0, 50, 0, 1), f"cancelled at await {place}"
            assert await lm.acall("and now?") == ["[[ ## answer ## ]]\n4"]
        return was_cancelled

    async def cancelled(work, place):
        try:
            return await cancelled_at(work, place)
        except asyncio.CancelledError:
            return True

    async def main():
        place = 0
        while await once(place):
            place += 1
        return place

    places, _ = simulate(main)
    assert places >= 3
