"""The faults that `FaultServer.then_fault` knows by name: what is sent, and what a provider should make of it."""

import gzip
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from dspex.core.errors import (
    AuthError,
    BadRequest,
    ContentFiltered,
    ContextWindowExceeded,
    LMError,
    LMTimeout,
    ProtocolError,
    RateLimited,
    Unavailable,
)

MIB = 1 << 20
PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """How one answer is sent: `delay` seconds late, or once `gather` requests have come in all; then its chunks, `every`
    seconds one, then what `made` gives for the request's body, then `endless` again and again; then the connection is kept,
    closed, reset or left hanging.
    """

    chunks: tuple[bytes, ...] = ()
    made: Callable[[bytes], bytes] | None = None
    end: Literal["keep", "close", "reset", "hang"] = "keep"
    delay: float = 0.0
    every: float = 0.0
    gather: int = 0
    endless: bytes = b""


class Fault(msgspec.Struct, frozen=True):
    """A way to fail: `row` is its id on the page of faults, `step` makes it of a good answer.

    `raises` are the classes of LMError that a call without retries may end in; none means that the answer arrives.
    `streams` says that the good answer is the text of an event stream.
    """

    row: str
    step: Callable[[bytes], Step]
    raises: tuple[type[LMError], ...] = ()
    streams: bool = False


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """Status line and headers of a reply, with the empty line after them."""
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def whole(body: bytes, status: int = 200, **headers: str) -> bytes:
    """A reply with its length; a header is a keyword with `_` for `-`, and an empty one is left out."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {"content-type": "application/json", "content-length": str(len(body)), **given}
    return head(status, {name: value for name, value in fields.items() if value}) + body


def chunked(data: bytes) -> bytes:
    """One chunk of a body in chunked encoding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def _sends(*chunks: bytes, end: Literal["close", "reset", "hang"] = "close", **how: Any) -> Callable[[bytes], Step]:
    return lambda _: Step(chunks=chunks, end=end, **how)


def _cut(share: float, end: Literal["close", "reset", "hang"]) -> Callable[[bytes], Step]:
    return lambda answer: Step(chunks=(whole(answer)[: -int(len(answer) * share)],), end=end)


def _kept(made: Callable[[bytes], bytes]) -> Callable[[bytes], Step]:
    return lambda answer: Step(chunks=(made(answer),))


def _status(status: int, code: str = "", message: str = "no", **headers: str) -> Callable[[bytes], Step]:
    error = msgspec.json.encode({"error": {"message": message, "code": code or None}})
    return lambda _: Step(chunks=(whole(error, status, **headers),))


def _bomb(_: bytes) -> Step:
    packer = zlib.compressobj(1, wbits=31)
    body = b"".join([*(packer.compress(bytes(MIB)) for _ in range(32)), packer.flush()])
    return Step(chunks=(whole(body, content_encoding="gzip"),))


def _corrupt(answer: bytes) -> bytes:
    packed = gzip.compress(answer)
    return whole(packed[:12] + b"\xff\xff\xff\xff" + packed[16:], content_encoding="gzip")


def _events(stream: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in stream.split(b"\n\n")[:-1]]


class StreamForm(msgspec.Struct, frozen=True):
    """How a wire writes its streams, that of server-sent events where nothing else is said.

    `events` takes a stream apart; `nonsense` is an event that nobody can read, `silence` one that says nothing; a `line`
    without end, and a `part` of one event again and again, pass every limit; `with_crlf` ends its lines as others do.
    """

    content_type: str = "text/event-stream"
    events: Callable[[bytes], list[bytes]] = _events
    nonsense: bytes = b"data: {nope\n\n"
    silence: bytes = b": wait\n\n"
    line: bytes = b"x" * 65536
    part: bytes = b"data: " + b"x" * 65536 + b"\n"
    with_crlf: Callable[[bytes], bytes] = lambda stream: stream.replace(b"\n", b"\r\n")

    @property
    def head(self) -> bytes:
        """Status line and headers of a stream."""
        return head(200, {"Content-Type": self.content_type, "Transfer-Encoding": "chunked"})

    def half(self, stream: bytes) -> bytes:
        """The first half of its events."""
        events = self.events(stream)
        return b"".join(events[: len(events) // 2])


SSE = StreamForm()
LAST = b"0\r\n\r\n"
ENDLESS = head(200, {"Transfer-Encoding": "chunked"})


def _stream(
    form: StreamForm,
    made: Callable[[bytes], bytes],
    end: Literal["keep", "reset", "hang"] = "keep",
    *,
    piece: int = MIB,
    **how: Any,
) -> Callable[[bytes], Step]:
    last = (LAST,) if end == "keep" else ()

    def step(answer: bytes) -> Step:
        data = made(answer)
        pieces = [chunked(data[at : at + piece]) for at in range(0, len(data), piece)]
        return Step(chunks=(form.head, *pieces, *last), end=end, **how)

    return step


PROTOCOL, LATE, DOWN = (ProtocolError,), (LMTimeout,), (Unavailable,)
WIRE = MappingProxyType({
    "silence": Fault("N04", _sends(end="hang"), LATE),
    "reset": Fault("N05", _sends(end="reset"), DOWN),
    "closed": Fault("N05", _sends(), DOWN),
    "reset in the body": Fault("N06", _cut(0.5, "reset"), (Unavailable, ProtocolError)),
    "short body": Fault("N07", _cut(0.5, "close"), PROTOCOL),
    "whole JSON, short body": Fault("N07", lambda a: Step(chunks=(whole(a, content_length="9999"),), end="close"), PROTOCOL),
    "headers never end": Fault("N08", _sends(b"HTTP/1.1 200 OK\r\nContent-", end="hang"), LATE),
    "dripping headers": Fault("N09", lambda a: Step(chunks=tuple(bytes([byte]) for byte in whole(a)), every=0.05, end="hang"), LATE),
    "dripping body": Fault("N10", _sends(head(200, {"Content-Length": "9999"}), *[b" "] * 99, end="hang", every=0.05), LATE),
    "endless body": Fault("N11", _sends(ENDLESS, endless=chunked(b" " * 65536)), PROTOCOL),
    "announced too large": Fault("N12", _sends(head(200, {"Content-Length": str(400 * MIB)}), end="hang"), PROTOCOL),
    "gzip bomb": Fault("N13", _bomb, PROTOCOL),
    "broken gzip": Fault("N14", _kept(_corrupt), PROTOCOL),
    "no gzip": Fault("N14", _kept(lambda a: whole(a, content_encoding="gzip")), PROTOCOL),
    "brotli": Fault("N14", _kept(lambda a: whole(a, content_encoding="br")), PROTOCOL),
    "bad chunk size": Fault("N15", _sends(ENDLESS, b"zz\r\n{}\r\n"), PROTOCOL),
    "no HTTP": Fault("N15", _sends(b"220 mail.example ESMTP\r\n\r\n"), PROTOCOL),
    "huge header": Fault("N15", _sends(head(200, {"X": "x" * 2 * MIB})), PROTOCOL),
    "early hints": Fault("N16", _kept(lambda a: head(103, {"Link": "</x>"}) + whole(a))),
    "continue": Fault("N16", _kept(lambda a: head(100, {}) + whole(a))),
    "text/plain": Fault("N19", _kept(lambda a: whole(a, content_type="text/plain"))),
    "no content type": Fault("N19", _kept(lambda a: whole(a, content_type=""))),
    "web page": Fault("N20", _kept(lambda _: whole(PAGE, content_type="text/html")), PROTOCOL),
    "web page, 502": Fault("N21", _kept(lambda _: whole(PAGE, 502, content_type="text/html")), DOWN),
    "empty": Fault("N22", _kept(lambda _: whole(b"")), PROTOCOL),
    "JSON cut off": Fault("N22", _kept(lambda a: whole(a[: len(a) // 2])), PROTOCOL),
    "redirect": Fault("N18", _status(302, location="http://127.0.0.1:9/"), PROTOCOL),
    "redirect to a file": Fault("N18", _status(307, location="file:///etc/passwd"), PROTOCOL),
})  # fmt: skip
STATUSES = MappingProxyType({
    **{str(status): Fault("S07", _status(status), DOWN) for status in (409, 500, 502, 503, 529)},
    **{str(status): Fault("S07", _status(status), LATE) for status in (408, 504)},
    **{str(status): Fault("S09", _status(status), (BadRequest,)) for status in (400, 404, 405, 413, 422)},
    **{str(status): Fault("S10", _status(status), (AuthError,)) for status in (401, 403)},
    "429": Fault("S05", _status(429), (RateLimited,)),
    "429, tomorrow": Fault("S03", _status(429, retry_after="86400"), (RateLimited,)),
    "429, no sense": Fault("S04", _status(429, retry_after="-NaN"), (RateLimited,)),
    "429, quota": Fault("S06", _status(429, "insufficient_quota"), (RateLimited,)),
    "prompt too long": Fault("S11", _status(400, "context_length_exceeded"), (ContextWindowExceeded,)),
    "refused by policy": Fault("S12", _status(400, "content_policy_violation"), (ContentFiltered,)),
    "endless error": Fault("S13", _sends(head(500, {"Transfer-Encoding": "chunked"}), endless=chunked(b"x" * 65536)), DOWN),
    "error in a reply": Fault("S15", _kept(lambda _: whole(b'{"error": {"message": "no", "code": 502}}')), DOWN),
})  # fmt: skip
REPLIES = MappingProxyType({
    "a list": Fault("B01", _kept(lambda _: whole(b"[1, 2]")), PROTOCOL),
    "an empty object": Fault("B01", _kept(lambda _: whole(b"{}")), PROTOCOL),
    "byte order mark": Fault("B06", _kept(lambda a: whole(b"\xef\xbb\xbf" + a))),
    "NaN": Fault("B07", _kept(lambda a: whole(a[:-1] + b', "extra": NaN}')), PROTOCOL),
    "nested arrays": Fault("B08", _kept(lambda a: whole(a[:-1] + b', "extra": %s}' % (b"[" * 99_999 + b"]" * 99_999))), PROTOCOL),
})  # fmt: skip


def stream_faults(form: StreamForm = SSE) -> Mapping[str, Fault]:
    """The faults of streams, as a wire of that form has them."""
    half, page = form.half, whole(PAGE, content_type="text/html")
    return {
        "stream cut": Fault("T01", _stream(form, half), PROTOCOL, streams=True),
        "stream reset": Fault("T03", _stream(form, half, "reset"), PROTOCOL, streams=True),
        "stream with bad JSON": Fault("T03", _stream(form, lambda a: half(a) + form.nonsense), PROTOCOL, streams=True),
        "stream reset at once": Fault("T04", _sends(form.head, end="reset"), (Unavailable, ProtocolError), streams=True),
        "stream falls silent": Fault("T05", _stream(form, half, "hang"), LATE, streams=True),
        "comments only": Fault("T06", _stream(form, lambda _: form.silence * 99, "hang", piece=len(form.silence), every=0.05), LATE, streams=True),
        "line without end": Fault("T07", _sends(form.head, endless=chunked(form.line)), PROTOCOL, streams=True),
        "event without end": Fault("T07", _sends(form.head, endless=chunked(form.part)), PROTOCOL, streams=True),
        "byte by byte": Fault("T08", _stream(form, bytes, piece=1), streams=True),
        "CR LF": Fault("T08", _stream(form, form.with_crlf), streams=True),
        "open after its end": Fault("T10", _stream(form, bytes, "hang"), streams=True),
        "web page for a stream": Fault("T11", _kept(lambda _: page), PROTOCOL, streams=True),
    }  # fmt: skip


STREAMS = MappingProxyType(stream_faults())
FAULTS: Mapping[str, Fault] = MappingProxyType({**WIRE, **STATUSES, **REPLIES, **STREAMS})
