"""The way to a server, opened and closed in one task: the package `mcp` binds both ends to the task that opened it."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

import httpx2
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from dspex_mcp.servers import Server, Stdio

WRITE_S, READ_S = 30.0, 300.0  # a server may take its time over a call; how much is the tool's to bound
BAD = 400
TAIL = 2_000  # characters of a server's stderr that an error shows

_logger = logging.getLogger("dspex.mcp")


@asynccontextmanager
async def opened(server: Server, limit_s: float, lost: Callable[[], None]) -> AsyncIterator[Client]:
    """A client that has shaken hands; `lost` is called where the server goes away unasked.

    Raises TimeoutError after `limit_s`, and what the transport raises. A command is ended on leaving, also by a
    cancelling: by the end of its stdin, then by SIGTERM after 2 s and SIGKILL after 2 s more.
    """
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(limit_s):
                transport = await _transport(server, stack)
                client = await stack.enter_async_context(Client(_watched(transport, lost)))
        except TimeoutError:
            raise TimeoutError(f"it did not answer within {limit_s:g} s") from None
        yield client


async def _transport(server: Server, stack: AsyncExitStack) -> Any:
    if isinstance(server, Stdio):
        errors = await stack.enter_async_context(_Stderr(server.name))
        words = StdioServerParameters(
            command=server.command, args=list(server.args), env=dict(server.env), cwd=server.cwd
        )
        return errors.watching(stdio_client(words, errors.file))
    times = httpx2.Timeout(WRITE_S, read=READ_S)
    replies = await stack.enter_async_context(_Replies())
    client = httpx2.AsyncClient(headers=dict(server.headers), timeout=times, event_hooks={"response": [replies.seen]})
    http = await stack.enter_async_context(client)
    return streamable_http_client(server.url, http_client=http)


@asynccontextmanager
async def _watched(transport: Any, lost: Callable[[], None]) -> AsyncIterator[Any]:
    async with transport as (read, write):
        yield _Watched(read, lost), write


class _Watched:
    """A stream of messages that says when it ends."""

    def __init__(self, stream: Any, lost: Callable[[], None]) -> None:
        self._stream = stream
        self._lost = lost

    async def receive(self) -> Any:
        try:
            return await self._stream.receive()
        except Exception:
            self._lost()
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.__anext__()
        except Exception:  # its end is one too
            self._lost()
            raise

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> Any:
        return await self._stream.__aexit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Replies:
    """What an HTTP server refused last, into the error that comes of it: the client says only that it did."""

    def __init__(self) -> None:
        self._refused = ""

    async def seen(self, response: httpx2.Response) -> None:
        """One more reply."""
        is_refused = response.status_code >= BAD
        self._refused = f"{response.status_code} {response.reason_phrase}".strip() if is_refused else ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None and self._refused:
            error.add_note(f"Its last reply was HTTP {self._refused}")


class _Stderr(asyncio.Protocol):
    """What a command writes to its stderr: to the logger "dspex.mcp", and its end into the error that it dies of."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tail = b""

    async def __aenter__(self) -> Self:
        reading, writing = os.pipe()
        self.file, read = os.fdopen(writing, "w"), os.fdopen(reading, "rb", 0)
        try:
            self._pipe, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: self, read)
        except BaseException:
            self.file.close()
            read.close()
            raise
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, _traceback: object) -> None:
        self.file.close()
        self._pipe.close()
        if error is not None and (said := self._tail.decode(errors="replace").strip()):
            error.add_note(f"Its stderr ended with: {said}")

    def data_received(self, data: bytes) -> None:
        """More of it."""
        _logger.debug("%s: %s", self._name, data.decode(errors="replace").rstrip())
        self._tail = (self._tail + data)[-TAIL:]

    @asynccontextmanager
    async def watching(self, transport: Any) -> AsyncIterator[Any]:
        """The transport; once it has the command, only that holds the pipe."""
        async with transport as streams:
            self.file.close()
            yield streams
