"""The cache file itself: made whole, told from others, and moved aside when it is damaged."""

import os
import secrets
import sqlite3
import stat
from contextlib import closing, suppress
from pathlib import Path

FORMAT = 1
APPLICATION_ID = 0x64735043  # "dsPC": tells our file from another program's

SCHEMA = f"""
PRAGMA journal_mode=WAL;
PRAGMA application_id={APPLICATION_ID};
PRAGMA user_version={FORMAT};
CREATE TABLE entries(number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL, stored REAL NOT NULL,
                     expires REAL);
CREATE INDEX expiring ON entries(expires) WHERE expires IS NOT NULL;
"""


class Damaged(Exception):
    """What lies at the path is no whole cache file."""


def connected(path: Path, wait_s: float) -> sqlite3.Connection:
    """An open connection to the file, which is made where there is none. Raises OSError, sqlite3.Error and Damaged."""
    _make(path)
    address = f"{path.as_uri()}?mode=rw"
    db = sqlite3.connect(address, uri=True, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        # With WAL, NORMAL loses nothing when a process dies; a power cut may take the last commits, never the file.
        db.executescript("PRAGMA synchronous=NORMAL; PRAGMA journal_size_limit=16777216; PRAGMA trusted_schema=OFF")
        _check(db)
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection) -> None:
    owner, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if owner != APPLICATION_ID:
        if db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise OSError("it is the database of another program; give the cache a path of its own")
        raise Damaged("the file is empty")
    if version > FORMAT:
        raise OSError(f"its format {version} is newer than {FORMAT}, the one this dspex-cache knows; upgrade it")


def _make(path: Path) -> None:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise OSError("it is not a regular file")
    except FileNotFoundError:
        _create(path)


def _create(path: Path) -> None:
    """Make the file under another name and link it into place, so that no process ever sees half of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.new")
    os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        made.chmod(0o600)  # whatever the umask
        with closing(sqlite3.connect(made)) as db:
            db.executescript(SCHEMA)
        _link(made, path)
    finally:
        made.unlink(missing_ok=True)


def _link(made: Path, path: Path) -> None:
    try:
        os.link(made, path)
    except FileExistsError:
        pass  # another process was first, and its file is as good
    except OSError:
        made.rename(path)  # a file system without links


def inode_of(path: Path) -> int | None:
    """What tells the file at a path from another there; None for none."""
    try:
        return path.stat().st_ino
    except OSError:
        return None


def means_damage(error: Exception) -> bool:
    """Whether a file that gave this error is to be moved aside."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, Damaged) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def moved_aside(path: Path, inode: int | None) -> Path | None:
    """Rename a damaged file, unless another process has put a good one in its place; gives the new name."""
    from dspex.plugin import locked  # with all contracts, which a good file has no need of

    with locked(Path(f"{path}.lock")):
        if inode is None or inode_of(path) != inode:
            return None
        aside = path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}")
        # Its log first: beside a new file it would be taken for that file's own.
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        return aside
