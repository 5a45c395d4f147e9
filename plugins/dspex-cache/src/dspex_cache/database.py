"""Entries that processes share in one SQLite file, in WAL mode, so that readers never wait for a writer.

All here is synchronous. One connection reads, under a short lock; one writes, under another, off the event loop.
"""

import sqlite3
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from dspex_cache.cache_file import Damaged, connected, inode_of, means_damage, moved_aside
from dspex_cache.entry import Entry
from dspex_cache.forks import around_fork
from dspex_cache.options import Clock

READ_WAIT_S = 0.02  # SQLite's readers wait only while another process recovers the file after a crash
WRITE_WAIT_S = 5.0
LOOK_AGAIN_S = 0.001  # for the lock that another process has
SLOW_READ_S = 0.25
STRIKES = 3  # so many failed or slow reads in a row, and the file is left alone for a while
LONGEST_REST_S = 30.0

FIND = "SELECT value, stored, expires FROM entries WHERE key = ?"
# Replacing gives a new number, and numbers are the order in which entries go when the file is full.
PUT = "INSERT OR REPLACE INTO entries(key, value, stored, expires) VALUES (?, ?, ?, ?)"
DROP = "DELETE FROM entries WHERE key = ?"
SPAN = "SELECT coalesce(max(number) - min(number) + 1, 0) FROM entries"
DROP_OLDEST = "DELETE FROM entries WHERE number IN (SELECT number FROM entries ORDER BY number LIMIT ?)"
DROP_EXPIRED = "DELETE FROM entries WHERE expires <= :now OR 2 * stored - expires >= :now"


class CacheUnavailable(OSError):
    """The file cannot be read or written now; the message names it and the cause."""


class Database:
    """A cache file, opened at first use; what it raises is CacheUnavailable.

    A damaged file is moved aside by the next write, with one warning; until then reads find nothing.
    """

    def __init__(self, path: Path, max_bytes: int, clock: Clock) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self._clock = clock
        self._fresh()
        # SQLite keeps what a process has locked in that process: a fork beside an open connection would give the child
        # locks that it does not have, and with them the power to damage the file.
        around_fork(before=self._pause, in_parent=self._resume, in_child=self._fresh)

    def _fresh(self) -> None:
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._inode: int | None = None  # of the file that is written
        self._damaged: int | None = None  # the inode of a file that a reader found damaged
        self._strikes = 0
        self._rest_until = 0.0
        self._last_trouble = ""

    def _pause(self) -> None:
        self._writing.acquire()
        self._reading.acquire()
        self._close_both()

    def _resume(self) -> None:
        self._reading.release()
        self._writing.release()

    @property
    def is_damaged(self) -> bool:
        """Whether the next write will move the file aside."""
        return self._damaged is not None

    def find(self, key: bytes) -> Entry | None:
        """The entry of that key, live or not, in some microseconds."""
        with self._reading:
            began = self._clock.monotonic()
            if self._strikes >= STRIKES and began < self._rest_until:
                raise CacheUnavailable(f"{self.path} is left alone for a while: {self._last_trouble}")
            try:
                if self._damaged is not None or (self._reader is None and not self.path.exists()):
                    return None
                if self._reader is None:
                    self._reader = connected(self.path, READ_WAIT_S)
                row = self._reader.execute(FIND, (key,)).fetchone()
            except (sqlite3.Error, OSError, Damaged) as error:
                self._not_read(error)
                return None
            seconds = self._clock.monotonic() - began
            if seconds > SLOW_READ_S:
                self._strike(f"a read took {seconds:.2g} s")
            else:
                self._strikes = 0
            return None if row is None else Entry(*row)

    def write(self, changes: Mapping[bytes, Entry | None]) -> None:
        """Put entries, and drop the keys whose entry is None, in one transaction: when it returns, all is kept."""
        with self._writing, self._named():
            if self._damaged is not None:
                self._set_aside(self._damaged)
            inode = inode_of(self.path)
            if inode != self._inode:  # removed or moved by somebody: what is written there would be lost
                self._let_go()
            try:
                self._transact(changes)
            except (sqlite3.Error, OSError, Damaged) as error:
                self._let_go()
                if not means_damage(error):
                    raise
                self._set_aside(inode)
                self._transact(changes)
            self._inode = inode_of(self.path)

    def clear(self) -> None:
        """Drop all entries and give their space back."""
        self._maintain("DELETE FROM entries", {})

    def prune(self, older_than_s: float | None = None, max_bytes: int | None = None) -> int:
        """Drop what has expired, is older than some seconds, or is beyond a size, the oldest first; gives the number."""
        self.write({})  # a damaged file is out of the way after this
        before = self.figures()["entries"]
        now = self._clock.now()
        self._maintain(
            DROP_EXPIRED + " OR stored < :oldest",
            {"now": now, "oldest": float("-inf") if older_than_s is None else now - older_than_s},
            max_bytes,
        )
        return int(before - self.figures()["entries"])

    def figures(self) -> dict[str, float]:
        """`entries`, `expiring` (those with an end), `bytes` (in use), `file_bytes`, `oldest` (wall clock, 0 if empty)."""
        with self._writing, self._named(), closing(connected(self.path, WRITE_WAIT_S)) as db:
            count, expiring, oldest = db.execute("SELECT count(*), count(expires), min(stored) FROM entries").fetchone()
            files = [Path(f"{self.path}{suffix}") for suffix in ("", "-wal")]
            return {
                "entries": count,
                "expiring": expiring,
                "bytes": _used_bytes(db) if count else 0,
                "file_bytes": sum(file.stat().st_size for file in files if file.exists()),
                "oldest": oldest or 0.0,
            }

    def rows(self) -> Iterator[tuple[bytes, Entry]]:
        """All entries, the oldest first, as they are when it begins."""
        with self._named(), closing(connected(self.path, WRITE_WAIT_S)) as db:
            for key, *rest in db.execute("SELECT key, value, stored, expires FROM entries ORDER BY number"):
                yield key, Entry(*rest)

    def close(self) -> None:
        """Let go of the file; it is opened again when it is used again."""
        with self._writing:
            self._let_go()

    def _let_go(self) -> None:
        with self._reading:
            self._close_both()

    def _close_both(self) -> None:
        _close(self._reader)
        _close(self._writer)
        self._reader = self._writer = None

    def _not_read(self, error: Exception) -> None:
        _close(self._reader)
        self._reader = None
        if means_damage(error):
            self._damaged = inode_of(self.path)
            return
        self._strike(str(error))
        raise CacheUnavailable(f"{self.path}: {error}") from error

    def _strike(self, trouble: str) -> None:
        self._strikes += 1
        self._last_trouble = trouble
        rest = min(LONGEST_REST_S, 2.0 ** min(self._strikes - STRIKES, 10))
        self._rest_until = self._clock.monotonic() + rest

    def _transact(self, changes: Mapping[bytes, Entry | None]) -> None:
        db = self._writer = self._writer or connected(self.path, WRITE_WAIT_S)
        puts = [(key, entry.value, entry.stored, entry.expires) for key, entry in changes.items() if entry is not None]
        drops = [(key,) for key, entry in changes.items() if entry is None]
        with _transaction(db):
            if drops:
                db.executemany(DROP, drops)
            if puts:
                db.executemany(PUT, puts)
                self._evict(db, self.max_bytes)

    def _evict(self, db: sqlite3.Connection, max_bytes: int) -> None:
        if _used_bytes(db) > max_bytes:
            db.execute(DROP_EXPIRED, {"now": self._clock.now()})
        while (used := _used_bytes(db)) > max_bytes:
            # Half of what an even size of entries would ask for: a large one among small ones takes few along.
            rows = max(1, int(db.execute(SPAN).fetchone()[0] * (1 - max_bytes / used) / 2))
            if db.execute(DROP_OLDEST, (rows,)).rowcount == 0:
                break

    def _maintain(self, statement: str, values: Mapping[str, float], max_bytes: int | None = None) -> None:
        self.write({})  # as above
        with self._writing, self._named():
            self._let_go()
            inode = inode_of(self.path)
            try:
                self._maintained(statement, values, self.max_bytes if max_bytes is None else max_bytes)
            except (sqlite3.Error, OSError, Damaged) as error:
                if not means_damage(error):
                    raise
                self._set_aside(inode)

    def _maintained(self, statement: str, values: Mapping[str, float], max_bytes: int) -> None:
        with closing(connected(self.path, WRITE_WAIT_S)) as db:
            with _transaction(db):
                db.execute(statement, values)
                self._evict(db, max_bytes)
            with suppress(sqlite3.OperationalError):  # space comes back later if another process reads now
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _set_aside(self, inode: int | None) -> None:
        self._let_go()
        moved = moved_aside(self.path, inode)
        self._damaged = None
        if moved is not None:
            warn(f"The cache file {self.path} was damaged. It now lies at {moved}, and the cache begins anew.")

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except CacheUnavailable:
            raise
        except (sqlite3.Error, OSError, Damaged) as error:
            what_to_do = "; `dspex cache clear` moves a damaged file aside" if means_damage(error) else ""
            raise CacheUnavailable(f"{self.path}: {error}{what_to_do}") from error


def warn(message: str) -> None:
    """Tell the user through Python's own warnings, and never fail by it."""
    with suppress(RuntimeWarning):  # raised where warnings are errors
        warnings.warn(message, RuntimeWarning, stacklevel=3)


def _close(db: sqlite3.Connection | None) -> None:
    if db is not None:
        with suppress(sqlite3.Error):
            db.close()


def _used_bytes(db: sqlite3.Connection) -> int:
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    _begin(db)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _begin(db: sqlite3.Connection) -> None:
    # SQLite itself looks again after a tenth of a second: of eight processes that write, all would sleep at times.
    db.execute("PRAGMA busy_timeout=0")
    try:
        for left in reversed(range(round(WRITE_WAIT_S / LOOK_AGAIN_S))):
            try:
                db.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or not left:
                    raise
            time.sleep(LOOK_AGAIN_S)
    finally:
        db.execute(f"PRAGMA busy_timeout={WRITE_WAIT_S * 1000:.0f}")
