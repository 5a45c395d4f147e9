"""What every cache backend must do, as tests that a plugin's own test class inherits."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from dspex.core.clock import Clock
from dspex.plugin.contracts import CacheBackend

LIMIT_S = 20.0
HOUR_S = 3600.0


class HandClock:
    """A `Clock` that stands still until a test sets `seconds`; its sleep is short and real, so that threads go on."""

    seconds = 1_800_000_000.0

    def now(self) -> float:
        return self.seconds

    monotonic = now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.005))


class CacheContract:
    """Subclass it as `TestMine` and give `make`; `survives` says that a new object over the same folder finds all."""

    survives = False

    def make(self, folder: Path, clock: Clock) -> CacheBackend:
        """A backend over `folder`, which may not exist yet, that takes its time from `clock`."""
        raise NotImplementedError

    def broken(self, folder: Path, clock: Clock) -> CacheBackend | None:
        """A backend whose storage cannot be used; None if it has no storage that could fail."""
        return None

    def live(self, cache: CacheBackend, work: Callable[[Any], Awaitable[None]]) -> None:
        """Run `work(cache)` as an App would: on a loop, with its background task, and closed at the end."""

        async def life() -> None:
            task = asyncio.ensure_future(_optional(cache, "background"))
            try:
                async with asyncio.timeout(LIMIT_S):
                    await _optional(cache, "start")
                    await work(cache)
            finally:
                task.cancel()
                await asyncio.wait([task])
                await cache.aclose()

        asyncio.run(life())

    def test_values_come_back_as_they_were_until_replaced_deleted_or_cleared(self, tmp_path: Path) -> None:
        values = {b"k": b"", b"\0\xff": b"\0" * 9, b"long": os.urandom(1 << 20), b"key" * 20: b"value"}

        async def work(cache: CacheBackend) -> None:
            assert await cache.get(b"k") is None
            await cache.delete(b"k")
            for key, value in values.items():
                await cache.set(key, b"before")
                await cache.set(key, value)
            peek = getattr(cache, "peek", values.get)
            assert [await cache.get(key) for key in values] == [*values.values()] == [peek(key) for key in values]
            await cache.delete(b"k")
            assert [await cache.get(b"k"), await cache.get(b"long")] == [None, values[b"long"]]
            assert {"entries", "bytes"} <= set(await cache.stats())
            await cache.clear()
            assert [await cache.get(key) for key in values] == [None] * len(values)

        self.live(self.make(tmp_path / "new", HandClock()), work)

    def test_a_life_ends_by_the_clock_and_is_not_endless_when_the_clock_jumps(self, tmp_path: Path) -> None:
        clock = HandClock()

        async def work(cache: CacheBackend) -> None:
            for hours, found in [(0.0, b"v"), (0.9, b"v"), (-0.9, b"v"), (-9.0, None), (1.1, None)]:
                clock.seconds = HandClock.seconds
                await cache.set(b"lasting", b"v")
                await cache.set(b"brief", b"v", ttl=HOUR_S)
                clock.seconds += hours * HOUR_S
                assert [await cache.get(b"brief"), await cache.get(b"lasting")] == [found, b"v"], hours

        self.live(self.make(tmp_path, clock), work)

    def test_it_is_used_from_several_loops_and_threads_at_once(self, tmp_path: Path) -> None:
        async def client(cache: CacheBackend, number: int) -> None:
            for turn in range(100):
                key = b"%d" % (turn % 7)
                await cache.set(key, b"%d:" % number + key * 500)
                found = await cache.get(key)
                assert found is None or found.partition(b":")[2] == key * 500

        async def work(cache: CacheBackend) -> None:
            def serve(number: int) -> None:
                asyncio.run(client(cache, number))

            await asyncio.gather(*(asyncio.to_thread(serve, number) for number in range(8)))

        self.live(self.make(tmp_path, HandClock()), work)

    def test_a_background_task_that_dies_loses_nothing(self, tmp_path: Path) -> None:
        keys = [b"%d" % turn for turn in range(20)]

        async def work(cache: CacheBackend) -> None:
            for turn, key in enumerate(keys):
                task = asyncio.ensure_future(_optional(cache, "background"))
                await cache.set(key, b"v")
                await asyncio.sleep(0.001 * (turn % 4))
                task.cancel()
            assert [await cache.get(key) for key in keys] == [b"v"] * len(keys)

        async def later(cache: CacheBackend) -> None:
            assert [await cache.get(key) for key in keys] == [b"v" if self.survives else None] * len(keys)

        self.live(self.make(tmp_path, HandClock()), work)
        self.live(self.make(tmp_path, HandClock()), later)

    def test_a_storage_that_cannot_be_used_costs_misses_and_plain_exceptions(self, tmp_path: Path) -> None:
        async def work(cache: Any) -> None:
            for turn in range(200):
                await _fenced(lambda: cache.set(b"k%d" % turn, b"v"))  # noqa: B023  called at once
                assert await _fenced(lambda: cache.get(b"other")) is None

        backend = self.broken(tmp_path, HandClock())
        if backend is not None:
            self.live(backend, work)


async def _optional(cache: CacheBackend, method: str) -> None:
    if found := getattr(cache, method, None):
        await found()


async def _fenced(attempt: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
    try:
        return await attempt()
    except Exception:  # noqa: BLE001  the cache service makes any of them a miss
        return None
