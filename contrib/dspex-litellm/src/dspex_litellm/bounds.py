"""The session that LiteLLM's client is given, as it has no bounds of its own: what comes by it is bounded as by the kernel's client."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from types import MappingProxyType
from typing import Any

from aiohttp import (
    ClientHandlerType,
    ClientPayloadError,
    ClientRequest,
    ClientResponse,
    ClientSession,
    DummyCookieJar,
    TCPConnector,
)
from msgspec import Raw

from dspex import HttpLimits
from dspex.plugin import ProtocolError, decode_json

LIMITS = HttpLimits()
LOOK_S = 0.5  # how often a reply that is waited for is looked at, whether its connection still stands
# What ends an event, by the type of the stream.
ENDS = MappingProxyType(
    {"text/event-stream": (b"\n\n", b"\r\n\r\n", b"\r\r"), **dict.fromkeys(("application/x-ndjson",), (b"\n",))}
)
GZIP = 16 + zlib.MAX_WBITS


class Refused(ClientPayloadError):
    """A reply that is not read to its end, and not asked for again."""


class Unreadable(ClientPayloadError):
    """A reply that cannot be read, and may be another time."""


def make_session() -> ClientSession:
    """A session for the running loop; who makes it closes it."""
    return ClientSession(connector=TCPConnector(limit=0), cookie_jar=DummyCookieJar(), middlewares=(_bounded,))


async def _bounded(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    response = await handler(request)
    fault = _fault(request, response)
    if fault is not None:
        response.close()
        raise fault
    response.content = Bounded(response)  # type: ignore[assignment]  # it has all that is asked of one
    return response


def _fault(request: ClientRequest, response: ClientResponse) -> ClientPayloadError | None:
    """What is wrong with a reply before any of it is read."""
    if 300 <= response.status < 400:
        return Refused(
            f"it redirects elsewhere ({response.status}), which is not followed: set api_base to the final address"
        )
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in {"identity", "gzip"} and encoding not in request.headers.get("accept-encoding", ""):
        return Unreadable(f"it is encoded as {encoding!r:.40}, which was not asked for")
    if response.status < 300 and (response.content_length or 0) > LIMITS.body:
        return Refused(f"it announces {response.content_length} bytes beyond the limit of {LIMITS.body}")
    return None


class Bounded:
    """The content of a reply, within the limits; a whole JSON body is read by the kernel's reader first."""

    def __init__(self, response: ClientResponse) -> None:
        self._response = response
        self._content = response.content
        self._encoding = response.headers.get("content-encoding", "identity").lower()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, _size: int) -> AsyncIterator[bytes]:
        """What comes, as it comes; an error's body is cut where it is long. Raises Refused and Unreadable."""
        kind, status = self._response.content_type, self._response.status
        if status >= 300:
            chunks = self._cut()
        elif kind == "application/json":
            chunks = self._checked()
        else:
            chunks = self._counted()
        async for chunk in chunks:
            yield chunk

    async def _cut(self) -> AsyncIterator[bytes]:
        left = LIMITS.error_body
        while left > 0 and (chunk := await self._next()):
            yield chunk[:left]
            left -= len(chunk)

    async def _checked(self) -> AsyncIterator[bytes]:
        whole = b"".join([chunk async for chunk in self._counted()])
        try:
            decode_json(self._inflated(whole), Raw)
        except ProtocolError as error:
            raise Unreadable(str(error)) from None
        yield whole

    async def _counted(self) -> AsyncIterator[bytes]:
        """Chunks, within the limit of a whole reply, or of an event of a stream."""
        ends = ENDS.get(self._response.content_type, ())
        limit = LIMITS.event if ends else LIMITS.body
        size, tail = 0, b""
        while chunk := await self._next():
            seen = tail + chunk
            end = max((seen.rfind(end) + len(end) for end in ends if end in seen), default=0)
            size = len(seen) - end if end else size + len(chunk)
            if size > limit:
                raise Refused(f"it goes on beyond the limit of {limit} bytes")
            tail = seen[-3:]
            yield chunk

    def _inflated(self, body: bytes) -> bytes:
        if self._encoding != "gzip":
            return body
        try:
            whole = zlib.decompressobj(GZIP).decompress(body, LIMITS.body + 1)
        except zlib.error as error:
            raise Unreadable(f"it is damaged: {error}") from None
        if len(whole) > LIMITS.body:
            raise Refused(f"it unpacks beyond the limit of {LIMITS.body} bytes")
        return whole

    async def _next(self) -> bytes:
        """The next bytes, empty at the end. Raises Unreadable where none can come any more."""
        reading = asyncio.ensure_future(self._content.readany())
        try:
            while not (await asyncio.wait({reading}, timeout=LOOK_S))[0]:
                connection = self._response.connection
                if connection is not None and connection.transport is None and not self._content.is_eof():
                    # aiohttp closes the connection on a body that breaks its encoding, and leaves who reads it waiting.
                    raise Unreadable("its encoding is not that of HTTP")
            return reading.result()
        finally:
            reading.cancel()
