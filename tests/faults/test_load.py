"""Load and long time, virtual: the real figures come from benchmarks/bench_faults.py."""

import asyncio
import gc
import os
import random
import threading
from collections import Counter
from pathlib import Path

import pytest

import dspex
from dspex.plugin import LMResponse, ProtocolError, RateLimited, Unavailable, Usage
from dspex.plugin.manager import PluginManager
from dspex.testing import VirtualClock, simulate

MIB = 1 << 20


class Weather:
    """Answers after a moment; fails, asks to wait, dawdles and babbles in the shares of R1, and while `down(now)`."""

    def __init__(self, seed, down=lambda now: False):
        self.rng, self.down = random.Random(seed), down
        self.attempts = 0

    async def complete(self, request):
        self.attempts += 1
        await asyncio.sleep(self.rng.uniform(0.05, 0.15))
        luck = self.rng.random()
        if luck < 0.05 or self.down(asyncio.get_running_loop().time()):
            raise Unavailable("reset")
        if luck < 0.10:
            raise RateLimited("slow down", retry_after=0.2)
        if luck < 0.11:
            raise ProtocolError("malformed", code="retry_once")
        if luck < 0.13:
            await asyncio.sleep(5.0)
        return LMResponse.from_text("4", Usage(10, 5, calls=1))


def app(seed):
    return dspex.App(clock=VirtualClock(), plugins=PluginManager(lambda: ()), seed=seed)


async def load(lm, calls, in_flight):
    """How many calls ended how, by name."""
    ends, numbers = Counter(), iter(range(calls))

    async def work():
        for number in numbers:
            try:
                assert await lm.acall(f"{number}?") == ["4"]
                ends["answer"] += 1
            except dspex.LMError as error:
                ends[type(error).__name__] += 1

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return ends


def gauges():
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident, len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), len(asyncio.all_tasks())


@pytest.mark.slow
@pytest.mark.fault("R1")
@pytest.mark.fault("R7")
def test_under_mixed_faults_every_call_ends_and_nothing_is_left():
    weather = Weather(seed=1)

    async def main():
        async with app(1):
            lm = dspex.LM("x/y", provider=weather, cache=False)
            await load(lm, 3_000, 2_000)
            before, tried = gauges(), weather.attempts
            ends = await load(lm, 6_000, 2_000)
            return ends, weather.attempts - tried, before, gauges()

    (ends, attempts, before, after), _ = simulate(main, 1)
    assert ends.total() == 6_000
    assert set(ends) <= {"answer", "Unavailable", "RateLimited", "ProtocolError", "LMTimeout"}
    assert ends["answer"] >= 5_970
    assert attempts <= 1.25 * 6_000
    assert after[0] - before[0] <= 40 * MIB
    assert after[1:] == before[1:]


def day(seed, hours=24):
    """(all that subscribers heard, how many calls ended how) of a day or its first hours: an outage of ten minutes every
    three hours, a limit of 20 requests a minute, and a child that dies once an hour.
    """
    weather = Weather(seed, down=lambda now: now % 10_800 < 600)
    heard, ends = [], Counter()

    async def dying():
        await asyncio.sleep(3_600)
        raise OSError("gone")

    async def main():
        async with app(seed) as one:
            one.bus.subscribe(heard.append, "test")
            one.supervise("dying", dying)
            lm = dspex.LM("x/y", provider=weather, cache=False, requests_per_minute=20)

            async def call(number):
                try:
                    await lm.acall(f"{number}?")
                    ends["answer"] += 1
                except dspex.LMError as error:
                    ends[type(error).__name__] += 1

            async with asyncio.TaskGroup() as group:
                for number in range(hours * 3_600 // 40):
                    group.create_task(call(number))
                    await asyncio.sleep(40)
            assert {row.state for row in one.tree()} == {"running"}

    simulate(main, seed)
    return [*map(repr, heard)], ends


@pytest.mark.slow
@pytest.mark.fault("R28")
def test_a_day_of_outages_limits_and_restarts_is_the_same_for_the_same_seed():
    trace, ends = day(seed=5)
    other, _ = day(seed=6, hours=3)
    assert ends.total() == 2_160
    assert ends["answer"] >= 0.94 * 2_160  # ten minutes in three hours are 5.6 %
    assert day(seed=5)[0] == trace
    assert trace[: len(other)] != other
