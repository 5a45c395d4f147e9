"""Checksummed JSON lines in a file of one's own: what a journal and a cassette are made of.

A line is the CRC-32 of its JSON in 8 hex digits, a blank, the JSON and a newline; the JSON begins with the line's number.
"""

import errno
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec


class DamagedLine(Exception):
    """A line before the last one is not as it was written."""


class Line(msgspec.Struct, frozen=True):
    """A whole line: its number from 0, where it begins and ends in the data, and its JSON."""

    number: int
    start: int
    end: int
    text: bytes

    @property
    def where(self) -> str:
        """For people."""
        return place(self.number, self.start)


def place(number: int, start: int) -> str:
    """Where a line is, for people."""
    return f"line {number + 1}, byte {start}"


def framed(body: bytes, number: int) -> bytes:
    """A line, of an object's JSON."""
    text = b'{"n":%d,%b' % (number, body[1:])
    return b"%08x %b\n" % (zlib.crc32(text), text)


def whole_lines(data: bytes, first: int = 0) -> Iterator[Line]:
    """The lines in `data`, of which the first has this number; a torn last one is left out. Raises DamagedLine."""
    start, number, size = 0, first, len(data)
    while start < size:
        end = data.find(b"\n", start)
        line = data[start : size if end < 0 else end]
        text = line[9:]
        is_whole = line[:9] == b"%08x " % zlib.crc32(text)
        if end in (-1, size - 1) and (end < 0 or not is_whole) and not _has_whole_start(line):
            return
        if not is_whole:
            raise DamagedLine(f"{place(number, start)}: damaged, its checksum is wrong.")
        if not text.startswith(b'{"n":%d,' % number):
            raise DamagedLine(f"{place(number, start)}: number {number} was expected; a line is lost or doubled.")
        yield Line(number, start, end + 1, text)
        start, number = end + 1, number + 1


def _has_whole_start(line: bytes) -> bool:
    """Whether more follows in this line after a whole record: its newline is damaged, so it is no torn tail."""
    text, crc, begin = line[9:], 0, 0
    while (brace := text.find(b"}", begin)) >= 0 and brace + 1 < len(text):
        crc, begin = zlib.crc32(text[begin : brace + 1], crc), brace + 1
        if line[:9] == b"%08x " % crc:
            return True
    return False


def write_whole(fd: int, data: bytes) -> None:
    """One write; one that is cut short is a full disk. Raises OSError."""
    if os.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def private_file(path: Path, flags: int) -> int:
    """A descriptor of a file that only its owner may read."""
    fd = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fchmod(fd, 0o600)
    return fd
