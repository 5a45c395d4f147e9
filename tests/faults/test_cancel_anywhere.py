"""A call is cancelled at each of its awaits in turn: nothing stays behind, and the next call is a good one."""

import asyncio

import pytest

import dspex
from dspex.plugin import LMDelta, LMResponse, Unavailable, Usage
from dspex.plugin.manager import PluginManager
from dspex.testing import VirtualClock, simulate


class Provider:
    """Fails at first, and answers the second attempt; in several steps each."""

    def __init__(self):
        self.attempts = self.inside = 0

    async def complete(self, request):
        await self.work()
        return LMResponse.from_text("[[ ## answer ## ]]\n4", Usage(10, 5, calls=1))

    async def stream(self, request):
        await self.work()
        for _ in range(3):
            await asyncio.sleep(0.1)
            yield LMDelta("4")
        yield LMDelta(finish_reason="stop", usage=Usage(10, 5, calls=1))

    async def work(self):
        self.attempts += 1
        fails = self.attempts % 2
        self.inside += 1
        try:
            for _ in range(3):
                await asyncio.sleep(0.1)
        finally:
            self.inside -= 1
        if fails:
            raise Unavailable("down")


class Cache(dict):
    """A CacheBackend that takes its time."""

    async def get(self, key):
        await asyncio.sleep(0.01)
        return super().get(key)

    async def set(self, key, value, ttl=None):
        await asyncio.sleep(0.01)
        self[key] = value

    async def delete(self, key):
        self.pop(key, None)

    async def aclose(self):
        pass


class Steps:
    """An awaitable that counts the steps of another one, and cancels its own task before one of them."""

    def __init__(self, work, last=None):
        self.work, self.last, self.count = work, last, 0

    def __await__(self):
        inner, thrown = self.work.__await__(), None
        while True:
            if self.count == self.last:
                asyncio.current_task().cancel()
            self.count += 1
            try:
                waited = inner.send(None) if thrown is None else inner.throw(thrown)
            except StopIteration as end:
                return end.value
            try:
                thrown = None
                yield waited
            except BaseException as error:
                thrown = error


async def middleware(request, call_next):
    await asyncio.sleep(0.01)
    return await call_next(request)


def run(last, kind):
    """How many steps a call has; with `last`, what is left after it was cancelled there."""
    provider = Provider()

    async def call(lm):
        if kind == "stream":
            request = lm.request((dspex.plugin.Message.of("user", "2+2?"),), {})
            return [delta async for delta in lm.stream(request)]
        return (await dspex.Predict("question -> answer").acall(question="2+2?")).answer

    async def main():
        options = {"cache": Cache(), "middleware": [middleware], "budget": dspex.Budget(calls=100)}
        async with dspex.App(clock=VirtualClock(), plugins=PluginManager(lambda: ()), seed=3, **options) as app:
            lm = dspex.LM("x/y", provider=provider, max_in_flight=1, requests_per_minute=600, cache=kind == "cached")
            app.configure(lm=lm)
            with dspex.budget(calls=50) as scope:
                steps = Steps(call(lm), last)

                async def work():
                    return await steps

                first = asyncio.create_task(work())
                # Two more wait for the same reply, and for the only permit: a leader that ends hands over.
                others = [asyncio.create_task(call(lm)) for _ in range(2)]
                await asyncio.wait([first, *others])
                assert first.cancelled() == (last is not None and last < steps.count)
                assert [task.exception() for task in others] == [None, None]
                limits = lm.service.attempts.limits
                left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
                assert (limits.used, provider.inside, left) == (0, 0, [])
                assert scope.spent.calls == provider.attempts
                with dspex.budget(calls=2):  # what a cancelled call had reserved is not missing
                    assert (await dspex.Predict("question -> answer").acall(question="and now?")).answer == "4"
            return steps.count

    return simulate(main, 3)[0]


@pytest.mark.fault("P14")
@pytest.mark.fault("P15")
@pytest.mark.fault("R16")
@pytest.mark.parametrize(("kind", "least"), [("cached", 4), ("plain", 8), ("stream", 10)])
def test_a_call_may_be_cancelled_at_each_of_its_awaits(kind, least):
    steps = run(None, kind)
    assert steps >= least
    for last in range(steps):
        run(last, kind)
