"""A run on disk: append-only, checksummed JSON lines in a folder that one process owns at a time.

Each record is one write as it happens, so it survives a kill; `sync` makes it survive a power cut too.
"""

import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Container
from contextlib import suppress
from pathlib import Path

import msgspec

from dspex.core.errors import JournalError
from dspex.runtime.framing import DamagedLine, Line, framed, private_file, whole_lines, write_whole
from dspex.runtime.records import DECODER, ENCODER, Blob, Record, Run

FORMAT = 1
FILE = "journal.jsonl"
BLOB_BYTES = 32 * 1024
LOCK_TRIES, LOCK_WAIT_S = 20, 0.002  # `owner_of` holds the lock for an instant


class Journal:
    """The open journal of a run folder, locked by this process; may be appended to from any thread."""

    def __init__(self, folder: Path) -> None:
        """Make the folder or take it over, lock it, and read what it holds; a torn last line is cut off.

        Raises JournalError if another process owns it, it is damaged before its last line, or cannot be written.
        """
        self.folder = folder
        self.path = folder / FILE
        self._thread_lock = threading.Lock()
        self._failed = ""
        self.added: list[Record] = []
        self._kept: Container[type[Record]] = ()
        self.is_dirty = False
        self.is_due = False  # to be synced soon, and not only within a second
        self._fd = self._lock_fd = -1
        try:
            _private_folder(folder)
            self._lock_fd = _locked(folder)
            self._fd = private_file(self.path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
            data = self.path.read_bytes()
            self.records, self._size = replay(data, str(self.path), folder)
            self.torn_bytes = len(data) - self._size
            if self.torn_bytes:
                os.ftruncate(self._fd, self._size)
        except OSError as error:
            self.close()
            raise JournalError(f"The run folder {folder} cannot be used: {error}. Choose another run_dir.") from error
        except JournalError:
            self.close()
            raise
        self._lines = len(self.records)

    def keep(self, kinds: Container[type[Record]]) -> None:
        """From now on have records of these kinds in `added` too, so that what is made of them needs no second reading."""
        self._kept, self.added = kinds, []

    def append(self, record: Record) -> None:
        """Write a record; when this returns, a kill cannot take it back. Raises JournalError if the disk does not take it."""
        body = ENCODER.encode(record)
        if len(body) > BLOB_BYTES:
            body = ENCODER.encode(Blob(self._keep(body)))
        with self._thread_lock:
            if self._failed or self._fd < 0:
                raise JournalError(self._failed or f"{self.path} is closed.")
            line = framed(body, self._lines)
            try:
                write_whole(self._fd, line)
            except OSError as error:
                raise self._failure(error) from error
            self._lines += 1
            self._size += len(line)
            self.is_dirty = True
            if type(record) in self._kept:
                self.added.append(record)

    def sync(self) -> None:
        """Make all records survive a power cut; blocks for about a millisecond."""
        if self.is_dirty and self._fd >= 0 and not self._failed:
            self.is_dirty = self.is_due = False
            try:
                getattr(os, "fdatasync", os.fsync)(self._fd)
            except OSError as error:
                raise self._failure(error) from error

    def close(self) -> None:
        """Sync and let the folder go."""
        try:
            with suppress(JournalError):
                self.sync()
        finally:
            for fd in (self._fd, self._lock_fd):
                if fd >= 0:
                    os.close(fd)
            self._fd = self._lock_fd = -1

    def forked(self) -> None:
        """In a forked child: let go of the run, or its lock would outlive the owner as long as any child lives."""
        self._thread_lock = threading.Lock()
        self._failed = f"{self.path} belongs to the process that opened it; a forked child cannot write it."
        for fd in (self._fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock_fd = -1

    def _keep(self, body: bytes) -> str:
        digest = hashlib.blake2b(body, digest_size=16).hexdigest()
        path = self.folder / "blobs" / digest
        try:
            _private_folder(path.parent)
            if not path.exists():
                fd = private_file(path.with_suffix(".new"), os.O_WRONLY | os.O_TRUNC)
                try:
                    write_whole(fd, body)
                    os.fsync(fd)
                finally:
                    os.close(fd)
                path.with_suffix(".new").replace(path)
        except OSError as error:
            raise self._failure(error) from error
        return digest

    def _failure(self, error: OSError) -> JournalError:
        """What is written stays whole: a half line is cut off, and nothing is added until the run is opened again."""
        self._failed = (
            f"{self.path} cannot be written after line {self._lines}: {error.strerror}. All lines up to there are kept; "
            f"make room, then run the same call with run_dir={str(self.folder)!r} to go on."
        )
        with suppress(OSError):
            os.ftruncate(self._fd, self._size)
        return JournalError(self._failed)


def replay(
    data: bytes, name: str = FILE, folder: Path | None = None, first: int = 0, tags: Container[bytes] | None = None
) -> tuple[list[Record], int]:
    """The records in `data`, and how many of its bytes they are: a torn last line is left out.

    `first` is the number of its first line; of `tags` alone records are made, though all lines are checked.
    Raises JournalError for damage before the last line, a newer format, or a blob that `folder` lacks.
    """
    records: list[Record] = []
    size = 0
    try:
        for line in whole_lines(data, first):
            if tags is None or _tag(line.text) in tags:
                records.append(_parsed(line, name, folder))
            size = line.end
    except DamagedLine as fault:
        raise JournalError(f"{name}, {fault} `dspex runs repair` keeps what stands before it.") from fault
    return records, size


def repair(folder: Path, target: Path) -> tuple[int, int]:
    """Copy what is whole of a damaged journal, up to its first damaged line, to a new folder.

    Gives the number of lines kept, and of bytes left out. Raises JournalError if nothing is whole, or `target` exists.
    """
    path = folder / FILE
    if target.exists():
        raise JournalError(f"{target} exists already; name a new folder to repair to.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error}.") from error
    kept = size = 0
    with suppress(DamagedLine, JournalError):
        for line in whole_lines(data):
            _parsed(line, str(path), folder)
            kept, size = kept + 1, line.end
    if not kept:
        raise JournalError(f"{path}: its first line is damaged already, so nothing of it can be kept.")
    _private_folder(target)
    fd = private_file(target / FILE, os.O_WRONLY)
    try:
        write_whole(fd, data[:size])
        os.fsync(fd)
    finally:
        os.close(fd)
    if (folder / "blobs").is_dir():
        shutil.copytree(folder / "blobs", target / "blobs")
    return kept, len(data) - size


def owner_of(folder: Path) -> str:
    """Which process has the run open, "" if none."""
    try:
        fd = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(fd, 200, 0).decode(errors="replace") or "another process"
    finally:
        os.close(fd)
    return ""


def _tag(text: bytes) -> bytes:
    """The kind of a record, without reading it; a large one is told by its blob alone."""
    start = text.find(b'"t":"') + 5
    return text[start : text.find(b'"', start)]


def _parsed(line: Line, name: str, folder: Path | None) -> Record:
    try:
        if not line.number and (found := msgspec.json.decode(line.text).get("format", FORMAT)) > FORMAT:
            raise JournalError(
                f"{name}, {line.where}: format {found} is newer than {FORMAT}, the newest known here; upgrade dspex."
            )
        record: Record = DECODER.decode(line.text)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise JournalError(f"{name}, {line.where}: not a record that this version knows: {error}.") from error
    if not line.number and not isinstance(record, Run):
        raise JournalError(f"{name}, {line.where}: a journal begins with a `run` record.")
    return _from_blob(record, f"{name}, {line.where}", folder) if type(record) is Blob else record


def _from_blob(blob: Blob, where: str, folder: Path | None) -> Record:
    path = (folder or Path()) / "blobs" / blob.digest
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.blake2b(data, digest_size=16).hexdigest() != blob.digest:
        raise JournalError(f"{where}: its value, the file {path}, is missing or damaged.")
    record: Record = DECODER.decode(data)
    return record


def _private_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)


def _locked(folder: Path) -> int:
    """The descriptor of `lock`, held until it is closed or this process dies."""
    fd = private_file(folder / "lock", os.O_RDWR)
    for tries_left in reversed(range(LOCK_TRIES)):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if tries_left:
                time.sleep(LOCK_WAIT_S)
                continue
            owner = os.pread(fd, 200, 0).decode(errors="replace") or "another process"
            os.close(fd)
            raise JournalError(
                f"The run folder {folder} is in use by {owner}. Wait for it, end it, or choose another run_dir."
            ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
    return fd
