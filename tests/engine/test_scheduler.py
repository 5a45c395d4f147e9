"""Budget, order and joining of steps, on algorithms made of nothing but waves and branches."""

import asyncio
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex.core.errors import ConfigurationError
from dspex.core.usage import Budget
from dspex.engine.scheduler import BRANCH, Scheduler, Stop, Work
from dspex.engine.spend import Spend


class Bench:
    """A scheduler over steps that take a random number of turns of the loop."""

    def __init__(self, seed=0, concurrency=8, known=(), takes=lambda key: 1, **budget):
        self.rng = random.Random(seed)
        self.takes = takes
        self.done = dict.fromkeys(known, True)
        self.ran = []
        self.most = 0
        self.spent = sum(self.takes(key) for key in self.done)
        self.scheduler = Scheduler(Spend.limit(Budget(**budget)), concurrency, self.recall, self.execute)
        BRANCH.set(self.scheduler.root)

    def recall(self, work, is_charged):
        return (work.key, Spend(self.takes(work.key))) if work.key in self.done else None

    async def execute(self, work):
        self.most = max(self.most, self.scheduler.in_flight)
        for _ in range(self.rng.randrange(6)):
            await asyncio.sleep(0)
        self.ran.append(work.key)
        self.done[work.key] = True

    async def wave(self, *keys, bound=2):
        return await self.scheduler.wave([Work(key, Spend(bound)) for key in keys])

    async def finish(self, algorithm):
        """What the algorithm gave, or why it was stopped."""
        try:
            return await algorithm(self)
        except Stop as stop:
            await self.scheduler.drained()
            return stop.reason


async def branches_of_waves(bench, shape):
    async def branch(name, sizes):
        for wave, size in enumerate(sizes):
            await bench.wave(*(f"{name}.{wave}.{i}" for i in range(size)))

    await bench.wave("start")
    await bench.scheduler.gather([branch(name, sizes) for name, sizes in enumerate(shape)])
    await bench.wave("end")


async def test_results_come_in_the_order_asked_for_and_within_the_concurrency():
    bench = Bench(concurrency=3)
    keys = [f"k{i}" for i in range(20)]
    assert await bench.wave(*keys) == keys
    assert bench.most == 3
    assert await bench.scheduler.gather([bench.wave("a"), bench.wave("b", "c")]) == [["a"], ["b", "c"]]


async def test_equal_steps_of_branches_side_by_side_run_once_and_each_is_charged():
    bench = Bench(calls=5)
    assert await bench.scheduler.gather([bench.wave("x", bound=1) for _ in range(4)]) == [["x"]] * 4
    assert bench.ran == ["x"]
    assert bench.scheduler.root.free.calls == 1


async def test_a_step_that_is_asked_for_again_takes_nothing_even_where_nothing_is_left():
    bench = Bench(calls=2)
    assert await bench.wave("x", "x", bound=1) == ["x", "x"]
    assert await bench.scheduler.gather([bench.wave("x"), bench.wave("y", bound=1)]) == [["x"], ["y"]]
    assert bench.scheduler.root.free.calls == 0
    assert await bench.wave("y", "x") == ["y", "x"]
    assert await bench.finish(lambda b: b.wave("x", "z")) == "budget"
    assert bench.ran == ["x", "y"]


@pytest.mark.parametrize("calls", [0, 1, 7, 24, 25])
@pytest.mark.parametrize("concurrency", [1, 8])
async def test_the_wall_is_never_passed_and_all_before_it_is_used(calls, concurrency):
    bench = Bench(concurrency=concurrency, calls=calls)
    assert await bench.finish(lambda b: b.wave(*map(str, range(100)), bound=1)) == "budget"
    assert sorted(map(int, bench.ran)) == list(range(calls))


@pytest.mark.slow
@given(
    st.lists(st.lists(st.integers(1, 4), max_size=4), min_size=1, max_size=5),
    st.integers(1, 40),
    st.integers(0, 1_000),
)
def test_the_same_steps_run_under_any_timing_and_concurrency(shape, calls, seed):
    takes = lambda key: 1 + sum(map(ord, key)) % 2  # noqa: E731

    async def run(concurrency, timing):
        bench = Bench(timing, concurrency, takes=takes, calls=calls)
        why = await bench.finish(lambda b: branches_of_waves(b, shape))
        return why, tuple(sorted(bench.ran))

    async def outcomes():
        tried = itertools.product((1, 2, 32), (seed, seed + 1))
        return {await asyncio.create_task(run(concurrency, timing)) for concurrency, timing in tried}

    [(_, ran)] = asyncio.run(outcomes())
    assert sum(map(takes, ran)) <= calls


@pytest.mark.slow
@given(st.data())
def test_a_run_that_knows_some_steps_ends_as_the_whole_run_did(data):
    shape, calls = [[2, 3, 1], [4, 1], [1, 1, 1, 1]], data.draw(st.integers(1, 30))

    async def run(seed, known=()):
        bench = Bench(seed, calls=calls, known=known)
        why = await bench.finish(lambda b: branches_of_waves(b, shape))
        return why, sorted(bench.done), bench.ran

    why, whole, _ = asyncio.run(run(0))
    known = data.draw(st.sets(st.sampled_from(whole))) if whole else set()
    again, resumed, rerun = asyncio.run(run(1, known))
    assert (again, resumed) == (why, whole)
    assert not set(rerun) & known


async def test_a_branch_that_needs_little_leaves_its_share_to_the_others():
    bench = Bench(calls=20)
    await bench.scheduler.gather([bench.wave(*"abcdefghijklmnopq", bound=1), bench.wave("z", bound=1)])
    assert len(bench.ran) == 18


async def test_nested_branches_share_and_return_what_is_left():
    bench = Bench(calls=12)

    async def outer(name):
        await bench.scheduler.gather([bench.wave(f"{name}{i}", bound=1) for i in range(3)])
        await bench.wave(name, bound=1)

    await bench.scheduler.gather([outer("a"), outer("b")])
    assert len(bench.ran) == 8
    assert bench.scheduler.root.free.calls == 4


async def test_pause_starts_nothing_and_lets_the_running_ones_end():
    bench = Bench(concurrency=2)
    task = asyncio.ensure_future(bench.wave(*map(str, range(10))))
    await asyncio.sleep(0)
    bench.scheduler.pause()
    await bench.scheduler.drained()
    assert len(bench.ran) == 2
    bench.scheduler.pause(False)
    assert len(await task) == 10


async def test_after_a_stop_known_steps_still_carry_a_branch_and_running_ones_count():
    bench = Bench(concurrency=2, known=["k1", "k2"])

    async def algorithm(bench):
        bench.scheduler.stop(Stop("cancelled"))
        assert await bench.wave("k1", "k2") == ["k1", "k2"]
        await bench.wave("k1", "new")

    assert await bench.finish(algorithm) == "cancelled"
    assert bench.ran == []


async def test_a_cancelled_step_counts_as_not_done():
    bench = Bench(concurrency=2)
    task = asyncio.ensure_future(bench.finish(lambda b: b.wave(*map(str, range(10)))))
    await asyncio.sleep(0)
    bench.scheduler.stop(Stop("cancelled"))
    bench.scheduler.cancel()
    assert await task == "cancelled"
    assert bench.ran == []


async def test_an_error_in_a_branch_ends_the_others_and_is_raised():
    bench = Bench()

    async def broken():
        await bench.wave("a")
        raise ValueError("a slip of the algorithm")

    with pytest.raises(ValueError, match="a slip"):
        await bench.scheduler.gather([broken(), bench.wave(*map(str, range(50)))])
    await bench.scheduler.drained()
    assert len(bench.ran) < 50


async def test_waves_of_one_branch_at_once_are_refused():
    bench = Bench()
    first = asyncio.ensure_future(bench.wave("a"))
    await asyncio.sleep(0)
    with pytest.raises(ConfigurationError, match=r"ctx\.gather"):
        await bench.wave("b")
    await first
