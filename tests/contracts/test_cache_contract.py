"""The kit for cache backends: a good one passes all of it, and each kind of bad one fails the test that is about it."""

import asyncio
import contextlib
import os
import threading
import time

import pytest

from dspex.testing.cache_contract import CacheContract

TESTS = [name for name in vars(CacheContract) if name.startswith("test_")]


class Good:
    """A dict; `time to live` by the clock, for ever bounded when the clock jumps back."""

    def __init__(self, folder, clock):
        self.entries = {}
        self.clock = clock

    def peek(self, key):
        value, stored, ttl = self.entries.get(key, (None, 0, None))
        return value if ttl is None or abs(self.clock.now() - stored) < ttl else None

    async def get(self, key):
        return self.peek(key)

    async def set(self, key, value, ttl=None):
        self.entries[key] = value, self.clock.now(), ttl

    async def delete(self, key):
        self.entries.pop(key, None)

    async def clear(self):
        self.entries.clear()

    async def stats(self):
        return {"entries": len(self.entries), "bytes": 0}

    async def aclose(self):
        pass


class CutsLongValues(Good):
    async def set(self, key, value, ttl=None):
        await super().set(key, value[:1000], ttl)


class KeepsTheFirst(Good):
    async def set(self, key, value, ttl=None):
        if key not in self.entries:
            await super().set(key, value, ttl)


class RaisesForAbsentKeys(Good):
    async def delete(self, key):
        del self.entries[key]


class KnowsNoTime(Good):
    async def set(self, key, value, ttl=None):
        await super().set(key, value)


class AsksTheSystemsClock(Good):
    def peek(self, key):
        value, stored, ttl = self.entries.get(key, (None, 0, None))
        return value if ttl is None or time.time() - stored < ttl else None


class LivesForEverInThePast(Good):
    def peek(self, key):
        value, stored, ttl = self.entries.get(key, (None, 0, None))
        return value if ttl is None or self.clock.now() - stored < ttl else None


class BoundToOneLoop(Good):
    loop = None

    async def set(self, key, value, ttl=None):
        import asyncio

        self.loop = self.loop or asyncio.get_running_loop()
        assert self.loop is asyncio.get_running_loop()
        await super().set(key, value, ttl)


class QueuesInItsBackgroundTask(Good):
    """What is set before the task has taken it is lost with the task."""

    queue = None

    async def set(self, key, value, ttl=None):
        if self.queue is None:
            await super().set(key, value, ttl)
        else:
            self.queue.append((key, (value, self.clock.now(), ttl)))

    async def background(self):
        import asyncio

        queue = self.queue = []
        while True:
            await asyncio.sleep(0.002)
            self.entries.update(queue)
            queue.clear()


class GivesByteArrays(Good):
    async def get(self, key):
        found = await super().get(key)
        return None if found is None else bytearray(found)


class CutsKeys(Good):
    def peek(self, key):
        return super().peek(key[:16])

    async def set(self, key, value, ttl=None):
        await super().set(key[:16], value, ttl)


class PeeksAtWhatIsGone(Good):
    def peek(self, key):
        return self.entries.get(key, (None,))[0]

    async def get(self, key):
        return Good.peek(self, key)


class KeepsTheOldLife(Good):
    async def set(self, key, value, ttl=None):
        await super().set(key, value, ttl if ttl is not None else self.entries.get(key, (0, 0, None))[2])


class CountsInWords(Good):
    async def stats(self):
        return {"entries": "many", "bytes": None}


class SwallowsCancellation(Good):
    async def get(self, key):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)
        return await super().get(key)


class HoldsTheLoop(Good):
    async def set(self, key, value, ttl=None):
        time.sleep(0.2)  # noqa: ASYNC251  that is the fault
        await super().set(key, value, ttl)


class LeavesATask(Good):
    async def set(self, key, value, ttl=None):
        self.task = asyncio.ensure_future(asyncio.sleep(3600))
        await super().set(key, value, ttl)


class LeavesAThread(Good):
    def __init__(self, folder, clock):
        super().__init__(folder, clock)
        threading.Thread(target=time.sleep, args=(3,), daemon=True).start()


class BoundToOneProcess(Good):
    def __init__(self, folder, clock):
        super().__init__(folder, clock)
        self.home = os.getpid()

    async def set(self, key, value, ttl=None):
        assert self.home == os.getpid()
        await super().set(key, value, ttl)


class BrokenAndExits(Good):
    async def get(self, key):
        raise SystemExit(1)


class BrokenAndLies(Good):
    async def get(self, key):
        return b"something"


def kit(backend, broken=None):
    class Kit(CacheContract):
        def make(self, folder, clock):
            return backend(folder, clock)

        def broken(self, folder, clock):
            return broken and broken(folder, clock)

    return Kit()


@pytest.mark.parametrize("name", TESTS)
def test_a_good_backend_passes(name, tmp_path):
    getattr(kit(Good, Good), name)(tmp_path)


@pytest.mark.parametrize(
    ("backend", "about"),
    [
        (CutsLongValues, "values_come_back"),
        (KeepsTheFirst, "values_come_back"),
        (RaisesForAbsentKeys, "values_come_back"),
        (KnowsNoTime, "a_life_ends"),
        (AsksTheSystemsClock, "a_life_ends"),
        (LivesForEverInThePast, "a_life_ends"),
        (BoundToOneLoop, "several_loops"),
        (QueuesInItsBackgroundTask, "background_task"),
        (GivesByteArrays, "values_come_back"),
        (CountsInWords, "values_come_back"),
        (CutsKeys, "alike_are_kept_apart"),
        (PeeksAtWhatIsGone, "a_life_ends"),
        (KeepsTheOldLife, "a_life_ends"),
        (SwallowsCancellation, "cancelled_work"),
        (HoldsTheLoop, "holds_no_loop"),
        (LeavesATask, "alike_are_kept_apart"),
        (LeavesAThread, "no_thread_of_it"),
        (BoundToOneProcess, "forked_child"),
        (BrokenAndExits, "cannot_be_used"),
        (BrokenAndLies, "cannot_be_used"),
    ],
)
def test_a_bad_backend_fails_the_test_that_is_about_it(backend, about, tmp_path):
    [name] = [name for name in TESTS if about in name]
    with pytest.raises((AssertionError, KeyError, SystemExit)):
        getattr(kit(backend, backend), name)(tmp_path)
