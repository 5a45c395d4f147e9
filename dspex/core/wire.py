"""What an HTTP client hands to a provider."""

from collections.abc import Mapping

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
