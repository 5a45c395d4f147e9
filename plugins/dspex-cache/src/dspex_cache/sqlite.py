"""The cache in a SQLite file: reads are inline, writes gather and are committed by one supervised writer."""

import asyncio
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from dspex_cache.database import CacheUnavailable, Database
from dspex_cache.entry import Entry, make
from dspex_cache.forks import after_fork
from dspex_cache.options import CacheOptions, Clock, SystemClock, file_of, resolve
from dspex_cache.queue import WriteQueue

T = TypeVar("T")
GATHER_S = 0.02
LONGEST_WAIT_S = 60.0
QUEUE_BYTES = 64 << 20


class SqliteCache:
    """The backend `sqlite`: survives the process, and is shared by all processes that name the same file.

    `set` returns when an entry is queued, and it is served from then on; an entry survives kill -9 once `flush` has
    returned, or some 20 ms later where `background` runs. An entry larger than a quarter of `max_bytes` is not kept.
    """

    def __init__(self, options: CacheOptions | Mapping[str, Any] | None = None, clock: Clock | None = None) -> None:
        self.options = resolve(options)
        self.path = file_of(self.options)
        self._clock = clock or SystemClock()
        self._now = self._clock.now
        self._queue = WriteQueue(Database(self.path, self.options.max_bytes, self._clock), QUEUE_BYTES)
        self._forked()
        after_fork(self._forked)
        # For a cache that nobody closes: when it is collected, or at the interpreter's end.
        weakref.finalize(self, self._queue.orphan)

    def _forked(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def peek(self, key: bytes) -> bytes | None:
        """The value, or None, in some microseconds. Raises CacheUnavailable."""
        entry = self.find(key)
        return None if entry is None else entry.value

    async def get(self, key: bytes) -> bytes | None:
        """The value, or None. Raises CacheUnavailable."""
        return self.peek(key)

    async def set(self, key: bytes, value: bytes, ttl: float | None = None) -> None:
        """Queue a value, for `ttl` seconds if given. Raises CacheUnavailable while nothing can be written."""
        self.put(key, make(value, self.options.ttl if ttl is None else ttl, self._now))

    async def delete(self, key: bytes) -> None:
        """Forget a value, in this process at once."""
        self._queue.put(key, None)

    async def clear(self) -> None:
        """Forget all, on disk too when this returns."""
        await self._off_loop(self._queue.clear)

    async def flush(self) -> None:
        """Commit what is queued: when this returns, no kill can lose it. Raises CacheUnavailable."""
        await self._off_loop(self._queue.commit)

    async def stats(self) -> Mapping[str, float]:
        """`entries`, `bytes`, `file_bytes`, `expiring` and `oldest` of the file, and what is `queued`."""
        figures = await self._off_loop(self._queue.database.figures)
        return {**figures, "queued": len(self._queue)}

    async def background(self) -> None:
        """The writer; it keeps trying while the disk refuses, and its successor finds all that it left."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        self._queue.wake = lambda: loop.call_soon_threadsafe(woken.set)
        wait = 0.0
        while True:  # once at first, so that the file is there, and whole, before it is needed
            try:
                await self._off_loop(self._queue.commit)
                wait = GATHER_S
            except CacheUnavailable:  # it is raised to the next caller of `set`
                wait = min(LONGEST_WAIT_S, max(1.0, wait * 2))
            woken.clear()
            if self._queue.sleep():
                await woken.wait()
            await self._clock.sleep(wait)

    async def aclose(self) -> None:
        """Commit what is queued and let go of the file; a later use opens it again."""
        await self._off_loop(self._queue.close)
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def find(self, key: bytes) -> Entry | None:
        """The live entry of a key."""
        entry = self._queue.find(key)
        return entry if entry is not None and entry.is_live(self._now) else None

    def put(self, key: bytes, entry: Entry) -> None:
        """Queue an entry, unless it is too large."""
        if len(entry.value) <= self.options.max_bytes // 4:
            self._queue.put(key, entry)

    async def _off_loop(self, work: Callable[[], T]) -> T:
        # A pool of its own: the loop's may be full of metrics and tools that take their time.
        pool = self._pool = self._pool or ThreadPoolExecutor(1, "dspex-cache")
        return await asyncio.get_running_loop().run_in_executor(pool, work)
