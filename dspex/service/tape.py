"""A cassette's tape: calls with their replies in a file, recorded in one run and played in another."""

import difflib
import fcntl
import os
import threading
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import msgspec

from dspex.core import errors
from dspex.core.endpoint import Capabilities
from dspex.core.errors import CassetteError, CassetteMiss, LMError, RetrieverError
from dspex.core.usage import Usage
from dspex.runtime.framing import DamagedLine, framed, private_file, whole_lines, write_whole
from dspex.service.hidden import Cleaner, Hidden

FORMAT = 1
Mode = Literal["auto", "record", "replay"]
NEAR_LINES, NEAR_WIDTH = 12, 160


class Header(msgspec.Struct, frozen=True, tag_field="t", tag="cassette"):
    """The first line."""

    format: int
    versions: dict[str, str] = {}


class Source(msgspec.Struct, frozen=True, tag_field="t", tag="source"):
    """What a provider's options are called, and what it can do: known in a replay, where there is no provider."""

    kind: str
    name: str
    options: tuple[str, ...] = ()
    capabilities: Capabilities | None = None


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error of a call; `partial` is what had come of its stream."""

    kind: str
    message: str
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None
    retryable: bool | None = None
    partial: str | None = None


class Take(msgspec.Struct, frozen=True, tag_field="t", tag="call", omit_defaults=True):
    """One logical call: what was asked (for people, shortened), and its value or fault.

    `cuts` are the lengths of the pieces in which a stream came; `paid` is what it cost, None for a cached reply.
    """

    kind: str
    key: str
    request: Any
    value: Any = None
    fault: Fault | None = None
    cuts: tuple[int, ...] = ()
    cached: bool = False
    attempts: int = 1
    paid: Usage | None = None


class Asked(msgspec.Struct, frozen=True):
    """One call, as it is looked for on a tape."""

    kind: str
    key: str
    request: Any
    source: Source
    secrets: Hidden = Hidden()


_START = b'00000000 {"n":0,"t":"cassette",'  # of any version, behind a checksum
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Header | Source | Take)


class Tape:
    """The open file, for all threads and tasks of a run. Equal requests are played in the order of their recording."""

    def __init__(self, path: Path, mode: Mode) -> None:
        """Read what is there. Raises CassetteError for damage, another version or a file that is missing or in use."""
        self.path = path
        self.is_replay = mode == "replay"
        self._lock = threading.Lock()
        self._fd = -1
        self._lines = self._size = 0
        self._takes: dict[tuple[str, str], list[Take]] = {}
        self._sources: dict[tuple[str, str], Source] = {}
        self._played: Counter[tuple[str, str]] = Counter()
        if path.exists():
            self._check_kind()
        elif mode == "replay":
            raise CassetteError(
                f"There is no cassette {path}: run once with mode='record', or with the default, 'auto'."
            )
        if mode == "record":
            self._open()
        elif path.exists():
            self._read()

    # Play

    def next(self, asked: Asked) -> Take | None:
        """The next recorded call of that request; None: it is to be made and kept. Raises CassetteMiss in a replay."""
        place = (asked.kind, asked.key)
        with self._lock:
            takes, number = self._takes.get(place, []), self._played[place]
            if number < len(takes):
                self._played[place] += 1
                return takes[number]
            if not self.is_replay:
                return None
            if takes:
                raise CassetteMiss(
                    f"{self.path} has this request {len(takes)} times, and it was made once more: {_line(asked.request)}"
                )
            raise CassetteMiss(f"{self.path} does not have this request. {self._nearest(asked)}")

    def source(self, kind: str, name: str) -> Source:
        """What is known of a provider; nothing if it was never asked."""
        return self._sources.get((kind, name)) or Source(kind, name)

    def _nearest(self, asked: Asked) -> str:
        rows = [take for takes in self._takes.values() for take in takes if take.kind == asked.kind]
        if not rows:
            return f"It has no calls of this kind ({asked.kind}) at all. It was: {_line(asked.request)}"
        wanted = _pretty(Cleaner(asked.secrets)(asked.request))
        matcher = difflib.SequenceMatcher(b="\n".join(wanted))

        def likeness(take: Take) -> float:
            matcher.set_seq1("\n".join(_pretty(take.request)))
            return matcher.quick_ratio()

        near = max(rows, key=likeness)
        changed = [
            line[:NEAR_WIDTH]
            for line in difflib.unified_diff(_pretty(near.request), wanted, n=0, lineterm="")
            if not line.startswith(("---", "+++", "@@"))
        ]
        if not changed:
            return "One that reads the same was recorded with other parameters of its endpoint (address, options)."
        more = ["..."] if len(changed) > NEAR_LINES else []
        return "\n".join(["The nearest one differs (- recorded, + asked):", *changed[:NEAR_LINES], *more])

    # Record

    def keep(
        self,
        asked: Asked,
        value: Any = None,
        *,
        error: LMError | RetrieverError | None = None,
        cuts: Sequence[int] = (),
        cached: bool = False,
        attempts: int = 1,
        paid: Usage | None = None,
    ) -> None:
        """Write a call and how it ended. Raises CassetteError if the file does not take it."""
        clean = Cleaner(asked.secrets)
        request, kept = clean(asked.request), clean.passages(value) if asked.kind == "retrieve" else clean(value)
        fault = None if error is None else _fault(error, clean)
        take = Take(asked.kind, asked.key, request, kept, fault, tuple(cuts), cached, attempts, paid)
        place = (asked.source.kind, asked.source.name)
        with self._lock:
            if self._fd < 0:
                self._open()
            source = _together(self._sources.get(place), asked.source)
            if self._sources.get(place) != source:
                self._sources[place] = source
                self._write(source)
            self._write(take)

    def _write(self, row: Header | Source | Take) -> None:
        line = framed(_encoder.encode(row), self._lines)
        try:
            write_whole(self._fd, line)
        except OSError as error:
            os.ftruncate(self._fd, self._size)
            raise CassetteError(f"{self.path} cannot be written: {error.strerror}.") from error
        self._lines += 1
        self._size += len(line)

    # The file

    def _check_kind(self) -> None:
        """Raises CassetteError for a file that is something else: none such is written to."""
        try:
            with self.path.open("rb") as file:
                start = file.read(len(_START))
        except OSError as error:
            raise CassetteError(f"{self.path} cannot be read: {error.strerror}.") from error
        if start and start[9:] != _START[9:]:
            raise CassetteError(f"{self.path} is no cassette: it does not begin with a header of one.")

    def _read(self) -> None:
        try:
            for line in whole_lines(self.path.read_bytes()):
                self._take_in(line.number, _decoded(line.text, f"{self.path}, {line.where}"))
                self._lines, self._size = line.number + 1, line.end
        except DamagedLine as fault:
            raise CassetteError(f"{self.path}, {fault} Record it anew with mode='record'.") from fault
        except OSError as error:
            raise CassetteError(f"{self.path} cannot be read: {error.strerror}.") from error

    def _take_in(self, number: int, row: Header | Source | Take) -> None:
        if number and isinstance(row, Header):
            raise CassetteError(f"{self.path}, line {number + 1}: a second header.")
        if isinstance(row, Source):
            self._sources[row.kind, row.name] = row
        elif isinstance(row, Take):
            self._takes.setdefault((row.kind, row.key), []).append(row)

    def _open(self) -> None:
        """Take the file over for writing, at the end of what is whole."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = private_file(self.path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(fd, self._size)
            except OSError:
                os.close(fd)
                raise
        except BlockingIOError:
            raise CassetteError(f"{self.path} is being recorded by somebody else.") from None
        except OSError as error:
            raise CassetteError(f"{self.path} cannot be written: {error.strerror}.") from error
        self._fd = fd
        if not self._lines:
            self._write(Header(FORMAT, {"dspex": _version()}))

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def _together(known: Source | None, source: Source) -> Source:
    if known is None:
        return source
    options = tuple(sorted({*known.options, *source.options}))
    return Source(source.kind, source.name, options, source.capabilities or known.capabilities)


def _decoded(text: bytes, where: str) -> Header | Source | Take:
    try:
        found = msgspec.json.decode(text)
        if found.get("t") == "cassette" and found.get("format") != FORMAT:
            raise CassetteError(
                f"{where}: format {found.get('format')!r}, and only {FORMAT} is known here. Record it anew, or upgrade dspex."
            )
        row: Header | Source | Take = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, AttributeError) as error:
        raise CassetteError(f"{where}: not a line of a cassette: {error}.") from error
    return row


def _fault(error: LMError | RetrieverError, clean: Cleaner) -> Fault:
    if isinstance(error, RetrieverError):
        return Fault("RetrieverError", clean(str(error)))
    told = (clean(error.message), error.status, error.code, error.retry_after, error.retryable, clean(error.partial))
    return Fault(type(error).__name__, *told)


def raised(take: Take, name: str) -> LMError | RetrieverError:
    """The error of a recorded call."""
    fault = take.fault
    assert fault is not None
    if fault.kind == "RetrieverError":
        return RetrieverError(fault.message)
    kind = getattr(errors, fault.kind, LMError)
    error: LMError = kind(fault.message) if issubclass(kind, LMError) else LMError(fault.message)
    error.model, error.attempts = name, take.attempts
    error.status, error.code, error.retry_after = fault.status, fault.code, fault.retry_after
    error.retryable, error.partial = fault.retryable, fault.partial
    return error


def _pretty(request: Any) -> list[str]:
    # Texts line by line, so that a difference shows the line that differs.
    return msgspec.json.format(_encoder.encode(request)).decode().replace("\\n", "\n    ").splitlines()


def _line(request: Any) -> str:
    text = _encoder.encode(request).decode()
    return text if len(text) <= 200 else f"{text[:200]}..."


def _version() -> str:
    try:
        return version("dspex")
    except PackageNotFoundError:  # run from a checkout
        return ""
