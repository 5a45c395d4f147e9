"""Thousands of calls over an endpoint with all kinds of faults: each ends in an answer or a typed error."""

import asyncio
import random

import pytest

import dspex
from dspex.plugin import LMResponse, ProtocolError, RateLimited, Unavailable, Usage


class Mixed:
    """5 % resets, 5 % 429, 2 % slow, 1 % malformed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.attempts = 0

    async def complete(self, request):
        self.attempts += 1
        draw = self.random.random()
        await asyncio.sleep(30.0 if 0.10 <= draw < 0.12 else self.random.uniform(0.5, 1.5))
        if draw < 0.05:
            raise Unavailable("connection reset")
        if draw < 0.10:
            raise RateLimited("slow down", retry_after=2.0)
        if 0.12 <= draw < 0.13:
            raise ProtocolError("cut off", code="retry_once")
        return LMResponse.from_text("4", Usage(10, 5, calls=1))


@pytest.mark.slow
@pytest.mark.fault("R1")
@pytest.mark.parametrize(
    "limits", [{}, {"max_in_flight": 200}, {"adaptive": True}, {"requests_per_minute": 1_200}], ids=str
)
def test_every_call_ends_and_little_is_sent_twice(virtual, settled, limits):
    provider, calls = Mixed(7), 1_500

    async def main():
        lm = dspex.LM("x/y", provider=provider, cache=False, **limits)
        with dspex.budget(calls=10_000) as budget:
            done = await settled(*(lm.acall("2+2?") for _ in range(calls)))
        return done, budget.spent.calls, lm.service.attempts.limits.used, len(asyncio.all_tasks())

    done, spent, used, tasks = virtual(main)
    assert sum(one.value == ["4"] for one in done) >= 0.995 * calls
    assert all(isinstance(one.error, dspex.LMError) for one in done if one.value is None)
    assert provider.attempts <= 1.25 * calls
    assert (spent, used, tasks) == (provider.attempts, 0, 1)


@pytest.mark.slow
@pytest.mark.fault("R16")
@pytest.mark.fault("P14")
@pytest.mark.parametrize("seed", range(3))
def test_cancelled_at_any_moment_nothing_is_left(virtual, seed):
    provider, chance = Mixed(seed), random.Random(seed)

    async def main():
        lm = dspex.LM(
            "x/y", provider=provider, cache=False, max_in_flight=20, requests_per_minute=3_000, hedge_after=1.2
        )
        with dspex.budget(calls=10_000) as budget:
            tasks = [asyncio.create_task(lm.acall(f"{number % 50}?")) for number in range(400)]
            while alive := [task for task in tasks if not task.done()]:
                for task in chance.sample(alive, min(10, len(alive))):
                    task.cancel()
                await asyncio.sleep(chance.random() / 4)
        limits = lm.service.attempts.limits
        return limits.used, limits._queue.size, budget.left.calls + budget.spent.calls, len(asyncio.all_tasks())

    assert virtual(main) == (0, 0, 10_000, 1)
