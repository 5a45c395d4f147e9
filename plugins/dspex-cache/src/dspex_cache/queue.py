"""What waits to be written: `put` returns at once, a commit writes all that has gathered."""

import threading
from collections.abc import Callable
from contextlib import suppress

from dspex_cache.database import CacheUnavailable, Database, warn
from dspex_cache.entry import Entry
from dspex_cache.forks import after_fork

ENTRY_BYTES = 300  # of an entry beside its value


class WriteQueue:
    """Changes in memory over a database; one change a key, the last. A commit that fails puts its changes back.

    `wake` is called when the first change comes while the writer sleeps; `fault` is why the last commit failed.
    """

    def __init__(self, database: Database, max_bytes: int) -> None:
        self.database = database
        self.fault: CacheUnavailable | None = None
        self.wake: Callable[[], object] | None = None
        self._max_bytes = max_bytes
        self._fresh()
        after_fork(self._fresh)

    def _fresh(self) -> None:  # in a forked child too: what waits here is the parent's to write
        self._lock = threading.Lock()
        self._committing = threading.Lock()
        self._waiting: dict[bytes, Entry | None] = {}
        self._bytes = 0
        self._in_hand: dict[bytes, Entry | None] = {}
        self._asleep = False
        self._told = False
        self._orphaned = False

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_hand)

    def put(self, key: bytes, entry: Entry | None) -> None:
        """Queue an entry, or with None a deletion. An entry raises CacheUnavailable while nothing can be written."""
        if self.fault is not None and entry is not None:
            self._told = True
            # A new error each time: one that is raised again and again grows by a traceback each time.
            raise CacheUnavailable(str(self.fault)) from self.fault
        with self._lock:
            if self._bytes > self._max_bytes:
                raise CacheUnavailable(
                    f"{self.database.path}: {self._bytes} bytes wait for a writer that does not come"
                )
            self._bytes += ENTRY_BYTES + (len(entry.value) if entry else 0)
            self._waiting[key] = entry
            wake = self.wake if self._asleep else None
            self._asleep = False
        if wake is not None:
            with suppress(RuntimeError):  # the writer's loop is closed; the next writer finds the queue as it is
                wake()

    def find(self, key: bytes) -> Entry | None:
        """The entry of that key, queued or on disk. Raises CacheUnavailable."""
        # A key moves from waiting to in hand to disk: looked at in this order it is never missed, without a lock.
        for changes in (self._waiting, self._in_hand):
            if key in changes:
                return changes.get(key)
        return self.database.find(key)

    def sleep(self) -> bool:
        """Say that the writer will wait for `wake`; False if there is something to do."""
        with self._lock:
            self._asleep = not (self._waiting or self.fault or self.database.is_damaged)
            return self._asleep

    def commit(self) -> None:
        """Write what waits, in one transaction. Raises CacheUnavailable, and then all of it still waits."""
        try:
            self._commit()
        finally:
            if self._orphaned:
                self.orphan()

    def _commit(self) -> None:
        with self._committing:
            with self._lock:
                self._in_hand, self._waiting = self._waiting, {}
                size, self._bytes = self._bytes, 0
            try:
                self.database.write(self._in_hand)
            except BaseException as error:
                with self._lock:
                    self._waiting = {**self._in_hand, **self._waiting}
                    self._bytes += size
                self.fault = error if isinstance(error, CacheUnavailable) else None
                raise
            finally:
                self._in_hand = {}
            self.fault, self._told = None, False

    def clear(self) -> None:
        """Forget all, queued and on disk."""
        with self._committing:
            with self._lock:
                self._waiting, self._bytes = {}, 0
            self.database.clear()

    def close(self) -> None:
        """Write what waits and let go of the file; what cannot be written is lost, with a warning."""
        try:
            if self._waiting:
                self.commit()
        except CacheUnavailable as error:
            lost, self._waiting, self._bytes = len(self._waiting), {}, 0
            if not self._told:
                warn(f"Cache entries that could not be kept: {lost} ({error})")
        finally:
            self.database.close()

    def orphan(self) -> None:
        """`close` for a collector, which may run inside a commit: that one then closes when it is done."""
        self._orphaned = True
        if self._committing.acquire(blocking=False):
            self._committing.release()
            self.close()
