"""A run on disk: append-only, checksummed JSON lines in a folder that one process owns at a time.

A line is the CRC-32 of its JSON in 8 hex digits, a blank, the JSON and a newline; the JSON begins with the line's number.
Each record is one write as it happens, so it survives a kill; `sync` makes it survive a power cut too.
"""

import errno
import fcntl
import hashlib
import os
import threading
import zlib
from contextlib import suppress
from pathlib import Path

import msgspec

from dspex.core.errors import JournalError
from dspex.runtime.records import DECODER, ENCODER, Blob, Record, Run

FORMAT = 1
FILE = "journal.jsonl"
BLOB_BYTES = 32 * 1024


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
        self.is_dirty = False
        self._fd = self._lock_fd = -1
        try:
            _private_folder(folder)
            self._lock_fd = _locked(folder)
            self._fd = _private_file(self.path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
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
                _write(self._fd, line)
            except OSError as error:
                raise self._failure(error) from error
            self._lines += 1
            self._size += len(line)
            self.is_dirty = True

    def sync(self) -> None:
        """Make all records survive a power cut; blocks for about a millisecond."""
        if self.is_dirty and self._fd >= 0 and not self._failed:
            self.is_dirty = False
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

    def _keep(self, body: bytes) -> str:
        digest = hashlib.blake2b(body, digest_size=16).hexdigest()
        path = self.folder / "blobs" / digest
        try:
            _private_folder(path.parent)
            if not path.exists():
                fd = _private_file(path.with_suffix(".new"), os.O_WRONLY | os.O_TRUNC)
                try:
                    _write(fd, body)
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


def framed(body: bytes, number: int) -> bytes:
    """A line of the journal, of a record's JSON."""
    text = b'{"n":%d,%b' % (number, body[1:])
    return b"%08x %b\n" % (zlib.crc32(text), text)


def replay(data: bytes, name: str = FILE, folder: Path | None = None) -> tuple[list[Record], int]:
    """The records in `data`, and how many of its bytes they are: a torn last line is left out.

    Raises JournalError for damage before the last line, a newer format, or a blob that `folder` lacks.
    """
    records: list[Record] = []
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        line = data[start : len(data) if end < 0 else end]
        is_last = end < 0 or end == len(data) - 1
        if is_last and (end < 0 or not _is_whole(line)) and not _has_whole_start(line):
            break
        records.append(_parsed(line, len(records), f"{name}, line {len(records) + 1}, byte {start}", folder))
        start = end + 1
    return records, start


def _is_whole(line: bytes) -> bool:
    return line[:9] == b"%08x " % zlib.crc32(line[9:])


def _has_whole_start(line: bytes) -> bool:
    """Whether more follows in this line after a whole record: its newline is damaged, so it is no torn tail."""
    text, crc, begin = line[9:], 0, 0
    while (brace := text.find(b"}", begin)) >= 0 and brace + 1 < len(text):
        crc, begin = zlib.crc32(text[begin : brace + 1], crc), brace + 1
        if line[:9] == b"%08x " % crc:
            return True
    return False


def _parsed(line: bytes, number: int, where: str, folder: Path | None) -> Record:
    if not _is_whole(line):
        raise JournalError(f"{where}: damaged, its checksum is wrong. `dspex runs repair` keeps what stands before it.")
    text = line[9:]
    if not text.startswith(b'{"n":%d,' % number):
        raise JournalError(f"{where}: number {number} was expected; a line is lost or doubled.")
    try:
        if number == 0 and (found := msgspec.json.decode(text).get("format", FORMAT)) > FORMAT:
            raise JournalError(f"{where}: format {found} is newer than {FORMAT}, the newest known here; upgrade dspex.")
        record: Record = DECODER.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise JournalError(f"{where}: not a record that this version knows: {error}.") from error
    if number == 0 and not isinstance(record, Run):
        raise JournalError(f"{where}: a journal begins with a `run` record.")
    return _from_blob(record, where, folder) if isinstance(record, Blob) else record


def _from_blob(blob: Blob, where: str, folder: Path | None) -> Record:
    path = (folder or Path()) / "blobs" / blob.digest
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.blake2b(data, digest_size=16).hexdigest() != blob.digest:
        raise JournalError(f"{where}: its value, the file {path}, is missing or damaged.")
    record: Record = DECODER.decode(data)
    return record


def _write(fd: int, data: bytes) -> None:
    if os.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _private_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)


def _private_file(path: Path, flags: int) -> int:
    fd = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fchmod(fd, 0o600)
    return fd


def _locked(folder: Path) -> int:
    """The descriptor of `lock`, held until it is closed or this process dies."""
    fd = _private_file(folder / "lock", os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(fd, 200, 0).decode(errors="replace") or "another process"
        os.close(fd)
        raise JournalError(
            f"The run folder {folder} is in use by {owner}. Wait for it, end it, or choose another run_dir."
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
    return fd
