import asyncio
import random

import pytest

from dspex.core.errors import Unavailable
from dspex.runtime.supervisor import ChildSpec, Supervisor
from dspex.testing.virtual_time import VirtualClock, simulate

STRATEGIES = ["one_for_one", "one_for_all", "rest_for_one"]


class Storm:
    """A random tree of random children that die at random times, and what was seen of it."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.order = []  # names of children in the order in which the tree starts them
        self.started = []
        self.stopped = {}  # supervisor -> its children that were told to stop, the last one last
        self.restarts = {}

    def supervisor(self, name, depth):
        times = self.restarts[name] = []
        intensity, period = self.rng.randint(0, 4), self.rng.choice([0.5, 5.0])
        made = Supervisor(
            name,
            strategy=self.rng.choice(STRATEGIES),
            intensity=intensity,
            period=period,
            clock=VirtualClock(),
            on_restart=lambda *_: times.append(asyncio.get_running_loop().time()),
        )
        for number in range(self.rng.randint(1, 4)):
            child = f"{name}.{number}"
            if depth and self.rng.random() < 0.3:
                made.add(self.supervisor(child, depth - 1).as_child())
            else:
                self.order.append(child)
                restart = self.rng.choice(["permanent", "permanent", "transient", "temporary"])
                lasting = restart != "temporary"
                made.add(ChildSpec(child, lambda c=child, s=name * lasting: self.life(c, s), restart, shutdown=1.0))
        return made

    async def life(self, name, supervisor):
        self.started.append(name)
        stopped = self.stopped.setdefault(supervisor, [])
        stopped[:] = [other for other in stopped if other != name]
        try:
            await asyncio.sleep(self.rng.expovariate(0.5))
            if self.rng.random() < 0.8:
                raise OSError(name)
        except asyncio.CancelledError:
            stopped.append(name)
            await asyncio.sleep(self.rng.choice([0.0, 0.1]))
            raise

    async def run(self):
        root = self.supervisor("root", 2)
        future = asyncio.get_running_loop().create_future()
        root.register(future)
        await root.start()
        first = list(self.started)
        await asyncio.sleep(self.rng.uniform(0.0, 8.0))
        await root.stop()
        with pytest.raises(Unavailable):
            await future
        left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        return root, first, left


@pytest.mark.slow
@pytest.mark.fault("P19")
@pytest.mark.fault("R21")
@pytest.mark.parametrize("block", range(10))
def test_in_any_storm_restarts_stay_within_bounds_and_nothing_is_left(block):
    for seed in range(block * 100, block * 100 + 100):
        storm = Storm(seed)
        (root, first, left), _ = simulate(storm.run, seed)
        assert first == storm.order, seed
        assert left == [], seed
        assert all(row.state != "running" for row in root.tree()), seed
        storm.stopped.pop("", None)  # temporary children go at the first restart beside them
        assert all(names == sorted(names, reverse=True) for names in storm.stopped.values()), seed
        # Not for nested ones: with each of their lives the count begins anew.
        times = storm.restarts["root"]
        assert all(sum(t <= other <= t + root.period for other in times) <= root.intensity for t in times), seed


def test_equal_seeds_make_equal_storms():
    def trace(seed):
        storm = Storm(seed)
        simulate(storm.run, seed)
        return storm.started, storm.stopped, storm.restarts

    assert trace(7) == trace(7)
