"""What an HTTP client hands to a provider, and the bounds that it keeps."""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec


class HttpReply(msgspec.Struct, frozen=True):
    """A whole reply of status 2xx, its body inflated; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ServerEvent(msgspec.Struct, frozen=True):
    """One server-sent event; `data` joins the event's data lines with newlines."""

    event: str
    data: str


class Framing(Protocol):
    """Puts the bytes of a streamed reply, cut anywhere, together to events."""

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that `chunk` completes. Raises ProtocolError for what is not of this form."""


# Makes a Framing for one stream, no event of which may have more bytes than it is given.
MakeFraming = Callable[[int], Framing]


class HttpLimits(msgspec.Struct, frozen=True):
    """Bounds of one exchange, in bytes and seconds; `body` and `error_body` count what comes out of decompression."""

    connect_s: float = 10.0
    idle_s: float = 30.0
    body: int = 16 << 20
    error_body: int = 64 << 10
    headers: int = 64 << 10
    event: int = 1 << 20
