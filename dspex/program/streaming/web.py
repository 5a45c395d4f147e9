"""A stream as a web server's response: for aiohttp.web, and for any ASGI server."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine, Mapping, MutableMapping
from contextlib import aclosing
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dspex.program.streaming.sse import HEARTBEAT_S, Describe, sse

if TYPE_CHECKING:
    from aiohttp import web

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "content-type": "text/event-stream",
        "cache-control": "no-cache",
        "x-accel-buffering": "no",  # nginx would keep events until it has 4 KiB of them
    }
)
LOOK_S = 0.5  # aiohttp tells a handler of a client that has gone only when it writes

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
ASGIApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


async def aiohttp_sse(
    request: "web.BaseRequest",
    stream: AsyncIterable[Any],
    *,
    headers: Mapping[str, str] = {},
    heartbeat_s: float | None = HEARTBEAT_S,
    describe: Describe | None = None,
) -> "web.StreamResponse":
    """The response of an aiohttp.web handler that gives a stream as server-sent events, as `sse` does.

    A client that goes cancels the program within a second; one that reads slowly holds it back.
    """
    from aiohttp import web

    response = web.StreamResponse(headers={**HEADERS, **headers})
    await response.prepare(request)
    chunks = sse(stream, heartbeat_s=heartbeat_s, describe=describe)
    if await _stayed(chunks, response.write, _gone(request)):
        await response.write_eof()
    return response


async def _gone(request: "web.BaseRequest") -> None:
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110  aiohttp has no event for it
        await asyncio.sleep(LOOK_S)


def asgi_sse(
    stream: AsyncIterable[Any],
    *,
    headers: Mapping[str, str] = {},
    heartbeat_s: float | None = HEARTBEAT_S,
    describe: Describe | None = None,
) -> ASGIApp:
    """An ASGI application that answers one request with a stream, as `aiohttp_sse` does.

    `await asgi_sse(stream)(scope, receive, send)` in an application of one's own; a Starlette endpoint returns it.
    """

    async def app(_scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in _all(headers)]
        await send({"type": "http.response.start", "status": 200, "headers": pairs})

        async def write(body: bytes) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": True})

        chunks = sse(stream, heartbeat_s=heartbeat_s, describe=describe)
        if await _stayed(chunks, write, _disconnected(receive)):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


def _all(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return list({**HEADERS, **{name.lower(): value for name, value in headers.items()}}.items())


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stayed(
    chunks: AsyncGenerator[bytes, None], write: Callable[[bytes], Awaitable[None]], gone: Coroutine[Any, Any, None]
) -> bool:
    """Write all chunks; what makes them is closed as soon as the reader has gone. Returns whether he stayed to the end."""
    writer, watcher = asyncio.create_task(_written(chunks, write)), asyncio.create_task(gone)
    try:
        await asyncio.wait([writer, watcher], return_when=asyncio.FIRST_COMPLETED)
    finally:
        writer.cancel()
        watcher.cancel()
        await asyncio.wait([writer, watcher])
    if not watcher.cancelled():
        watcher.result()  # it may have failed
    return not writer.cancelled() and writer.result()


async def _written(chunks: AsyncGenerator[bytes, None], write: Callable[[bytes], Awaitable[None]]) -> bool:
    async with aclosing(chunks):
        async for chunk in chunks:
            try:
                await write(chunk)
            except OSError:  # the reader has gone, as aiohttp and some ASGI servers say it
                return False
    return True
