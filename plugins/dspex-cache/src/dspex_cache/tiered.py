"""Memory over the SQLite file: the default."""

from collections.abc import Mapping
from typing import Any

from dspex_cache.entry import make
from dspex_cache.memory import Memory
from dspex_cache.options import CacheOptions, Clock, SystemClock
from dspex_cache.sqlite import SqliteCache


class TieredCache:
    """The backend `tiered`, also `default`: what was used last is in memory, all is in the file, as `sqlite` keeps it."""

    def __init__(self, options: CacheOptions | Mapping[str, Any] | None = None, clock: Clock | None = None) -> None:
        self._now = (clock or SystemClock()).now
        self._disk = SqliteCache(options, clock)
        self.options = self._disk.options
        self.path = self._disk.path
        self._memory = Memory(self.options.memory_bytes, self._now)
        self.flush = self._disk.flush
        self.background = self._disk.background

    def peek(self, key: bytes) -> bytes | None:
        """The value, or None, in some microseconds. Raises CacheUnavailable."""
        entry = self._memory.find(key)
        if entry is None:
            entry = self._disk.find(key)
            if entry is None:
                return None
            self._memory.put(key, entry)
        return entry.value

    async def get(self, key: bytes) -> bytes | None:
        """The value, or None. Raises CacheUnavailable."""
        return self.peek(key)

    async def set(self, key: bytes, value: bytes, ttl: float | None = None) -> None:
        """Keep a value, for `ttl` seconds if given; in memory even if CacheUnavailable is raised."""
        entry = make(value, self.options.ttl if ttl is None else ttl, self._now)
        self._memory.put(key, entry)
        self._disk.put(key, entry)

    async def delete(self, key: bytes) -> None:
        """Forget a value."""
        self._memory.drop(key)
        await self._disk.delete(key)

    async def clear(self) -> None:
        """Forget all."""
        self._memory.clear()
        await self._disk.clear()

    async def stats(self) -> Mapping[str, float]:
        """The figures of `sqlite`, and `memory_entries` and `memory_bytes`."""
        disk = await self._disk.stats()
        return {**disk, "memory_entries": len(self._memory), "memory_bytes": self._memory.bytes}

    async def aclose(self) -> None:
        """Commit what is queued and let go of the file and of the memory."""
        self._memory.clear()
        await self._disk.aclose()
