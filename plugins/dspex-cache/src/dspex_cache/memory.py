"""The cache in memory: the least recently used entries go when their bytes pass a bound."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from dspex_cache.entry import Entry, make
from dspex_cache.forks import after_fork
from dspex_cache.options import CacheOptions, Clock, SystemClock, resolve

OVERHEAD_BYTES = 250  # of an entry beside its value: objects and table slot, measured with tracemalloc


class Memory:
    """Entries by key under one short lock; an entry larger than the bound is not kept."""

    def __init__(self, max_bytes: int, now: Callable[[], float]) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes
        self._now = now
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._lock = threading.Lock()
        after_fork(self._forked)

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: bytes) -> Entry | None:
        """The live entry of that key, which is then the youngest."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if not entry.is_live(self._now):
            self.drop(key)
            return None
        try:
            self._entries.move_to_end(key)
        except KeyError:  # another thread dropped it just now
            return None
        return entry

    def put(self, key: bytes, entry: Entry) -> None:
        """Keep an entry, and drop the oldest beyond the bound."""
        with self._lock:
            self._forget(key)
            size = len(entry.value) + OVERHEAD_BYTES
            if size > self._max_bytes:
                return
            self._entries[key] = entry
            self.bytes += size
            while self.bytes > self._max_bytes:
                _, oldest = self._entries.popitem(last=False)
                self.bytes -= len(oldest.value) + OVERHEAD_BYTES

    def drop(self, key: bytes) -> None:
        """Forget a key."""
        with self._lock:
            self._forget(key)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._entries.clear()
            self.bytes = 0

    def _forget(self, key: bytes) -> None:
        old = self._entries.pop(key, None)
        if old is not None:
            self.bytes -= len(old.value) + OVERHEAD_BYTES

    def _forked(self) -> None:
        self._lock = threading.Lock()


class MemoryCache:
    """The backend `memory`: gone with the process, nothing on disk."""

    def __init__(self, options: CacheOptions | Mapping[str, Any] | None = None, clock: Clock | None = None) -> None:
        self.options = resolve(options)
        self._now = (clock or SystemClock()).now
        self._memory = Memory(self.options.memory_bytes, self._now)

    def peek(self, key: bytes) -> bytes | None:
        """The value, or None; never waits."""
        entry = self._memory.find(key)
        return None if entry is None else entry.value

    async def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        return self.peek(key)

    async def set(self, key: bytes, value: bytes, ttl: float | None = None) -> None:
        """Keep a value, for `ttl` seconds if given."""
        self._memory.put(key, make(value, self.options.ttl if ttl is None else ttl, self._now))

    async def delete(self, key: bytes) -> None:
        """Forget a value."""
        self._memory.drop(key)

    async def clear(self) -> None:
        """Forget all."""
        self._memory.clear()

    async def stats(self) -> Mapping[str, float]:
        """`entries` and `bytes`."""
        return {"entries": len(self._memory), "bytes": self._memory.bytes}

    async def aclose(self) -> None:
        """Forget all."""
        self._memory.clear()
