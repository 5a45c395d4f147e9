"""What every cache backend must do, as tests that a plugin's own test class inherits."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from dspex.core.clock import Clock
from dspex.core.messages import LMResponse
from dspex.plugin.contracts import CacheBackend
from dspex.testing.conduct import cancelled, going_on, holder
from dspex.testing.lm_contract import ended, forked

LIMIT_S = 20.0
HOUR_S = 3600.0
SOON_S = 2.0
LIKE = b"0123456789abcdef0123456789abcdeF"
# As the cache's own keys, of 32 bytes, and each like another one.
ALIKE = (
    LIKE,
    LIKE.lower(),
    LIKE[:-1],
    LIKE[:16],
    LIKE[:-1] + b"\0",
    LIKE + b"\0",
    LIKE + b" ",
    b"\0" + LIKE,
    LIKE + LIKE,
)


class HandClock:
    """A `Clock` that stands still until a test sets `seconds`; its sleep is short and real, so that threads go on."""

    seconds = 1_800_000_000.0

    def now(self) -> float:
        return self.seconds

    monotonic = now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.005))


class CacheContract:
    """Subclass it as `TestMine` and give `make`; `survives` says that a new object over the same folder finds all.

    `forks` False: it cannot live in a forked child.
    """

    survives = False
    forks = hasattr(os, "fork")

    def make(self, folder: Path, clock: Clock) -> CacheBackend:
        """A backend over `folder`, which may not exist yet, that takes its time from `clock`."""
        raise NotImplementedError

    def broken(self, folder: Path, clock: Clock) -> CacheBackend | None:
        """A backend whose storage cannot be used; None if it has no storage that could fail."""
        return None

    def live(self, cache: CacheBackend, work: Callable[[Any], Awaitable[None]]) -> None:
        """Run `work(cache)` as an App would: on a loop, with its background task, and closed at the end; no task is left."""

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
            await asyncio.sleep(0)
            assert not going_on(), f"tasks go on after `aclose`: {going_on()}"

        asyncio.run(life())

    def test_values_come_back_as_they_were_until_replaced_deleted_or_cleared(self, tmp_path: Path) -> None:
        values = {b"k": b"", b"\0\xff": b"\0" * 9, b"long": os.urandom(1 << 20), b"key" * 20: b"value"}

        async def work(cache: CacheBackend) -> None:
            assert await cache.get(b"k") is None
            await cache.delete(b"k")
            for key, value in values.items():
                await cache.set(key, b"before")
                await cache.set(key, value)
            found = [await both(cache, key) for key in values]
            peek = getattr(cache, "peek", values.get)
            assert found == [*values.values()] == [peek(key) for key in values]
            assert {type(value) for value in found} == {bytes}, "a value comes as it went in: as bytes"
            await cache.delete(b"k")
            assert [await both(cache, b"k"), await both(cache, b"long")] == [None, values[b"long"]]
            figures = await cache.stats()
            assert {"entries", "bytes"} <= set(figures)
            assert all(isinstance(figure, (int, float)) for figure in figures.values()), f"no figures: {figures}"
            await cache.clear()
            assert [await both(cache, key) for key in values] == [None] * len(values)

        self.live(self.make(tmp_path / "new", HandClock()), work)

    def test_keys_that_are_alike_are_kept_apart(self, tmp_path: Path) -> None:
        async def work(cache: CacheBackend) -> None:
            for number, key in enumerate(ALIKE):
                await cache.set(key, b"%d" % number)
            for number, key in enumerate(ALIKE):
                assert await both(cache, key) == b"%d" % number, f"{key!r} has the value of another key"
            await cache.delete(ALIKE[0])
            assert [await both(cache, key) is None for key in ALIKE] == [True] + [False] * (len(ALIKE) - 1)

        self.live(self.make(tmp_path, HandClock()), work)

    def test_a_life_ends_by_the_clock_and_is_not_endless_when_the_clock_jumps(self, tmp_path: Path) -> None:
        clock = HandClock()

        async def work(cache: CacheBackend) -> None:
            for hours, found in [(0.0, b"v"), (0.9, b"v"), (-0.9, b"v"), (-9.0, None), (1.1, None)]:
                clock.seconds = HandClock.seconds
                await cache.set(b"lasting", b"v")
                await cache.set(b"brief", b"v", ttl=HOUR_S)
                clock.seconds += hours * HOUR_S
                assert [await both(cache, b"brief"), await both(cache, b"lasting")] == [found, b"v"], hours
            clock.seconds = HandClock.seconds
            await cache.set(b"brief", b"v", ttl=HOUR_S)
            await cache.set(b"brief", b"w")
            clock.seconds += 2 * HOUR_S
            assert await both(cache, b"brief") == b"w", "set anew without a `ttl`, it ends by the old one"

        self.live(self.make(tmp_path, clock), work)

    def test_cancelled_work_ends_at_once_and_makes_nothing_else_of_it(self, tmp_path: Path) -> None:
        async def work(cache: CacheBackend) -> None:
            await cache.set(b"kept", b"v")
            for turns in range(4):
                doings: tuple[Callable[[], Awaitable[object]], ...]
                doings = (lambda: cache.get(b"kept"), lambda: cache.set(b"new", b"w"))
                for doing in doings:
                    await cancelled(doing(), turns, SOON_S)
            assert [await cache.get(b"kept"), await cache.get(b"new") in (None, b"w")] == [b"v", True]

        self.live(self.make(tmp_path, HandClock()), work)

    def test_it_holds_no_loop(self, tmp_path: Path) -> None:
        async def work(cache: CacheBackend) -> None:
            await cache.set(b"first", b"v")  # the first loads what it needs

            async def use() -> None:
                for number in range(3):
                    await cache.set(b"%d" % number, b"v" * 1000)
                    await both(cache, b"%d" % number)

            held = await holder(use)
            assert not held, held

        self.live(self.make(tmp_path, HandClock()), work)

    def test_its_app_lets_it_go_and_no_thread_of_it_is_left(self, tmp_path: Path) -> None:
        async def work(cache: CacheBackend) -> None:
            await cache.set(b"k", b"v")
            await cache.get(b"k")

        before = set(threading.enumerate())
        self.live(self.make(tmp_path, HandClock()), work)
        end = time.monotonic() + SOON_S
        while left := [one.name for one in threading.enumerate() if one not in before]:
            assert time.monotonic() < end, f"threads live on after `aclose`: {left}"
            time.sleep(0.01)

    def test_a_forked_child_uses_it_and_so_does_its_parent(self, tmp_path: Path) -> None:
        async def work(cache: CacheBackend) -> None:
            await cache.set(b"before", b"v")

            async def child() -> LMResponse:
                assert await cache.get(b"before") in (None, b"v")
                await cache.set(b"child", b"w")
                assert await cache.get(b"child") in (None, b"w")
                return LMResponse.from_text("done")

            assert await asyncio.to_thread(ended, forked(child), LIMIT_S / 2) == 0, "the child failed"
            assert await cache.get(b"before") == b"v"

        if self.forks:
            self.live(self.make(tmp_path, HandClock()), work)

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


async def both(cache: Any, key: bytes) -> bytes | None:
    """What `get` finds, and `peek` too: where it tells of something, that is the same."""
    found: bytes | None = await cache.get(key)
    seen = cache.peek(key) if hasattr(cache, "peek") else found
    assert seen in (found, None), f"`peek` gives {seen!r:.40} for {key!r}, and `get` {found!r:.40}"
    return found


async def _optional(cache: CacheBackend, method: str) -> None:
    if found := getattr(cache, method, None):
        await found()


async def _fenced(attempt: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
    try:
        return await attempt()
    except Exception:  # noqa: BLE001  the cache service makes any of them a miss
        return None
