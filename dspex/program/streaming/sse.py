"""Server-sent events of a stream: bytes for any web framework, with signs of life while nothing comes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import Any

import msgspec

from dspex.core.errors import DspexError
from dspex.core.example import Example
from dspex.core.identity import plain
from dspex.program.streaming.channel import Channel
from dspex.program.streaming.events import Failed

HEARTBEAT = b": still here\n\n"
HEARTBEAT_S = 15.0  # proxies mostly cut a connection that is silent for 30 or 60

Describe = Callable[[Exception], str]


async def sse(
    stream: AsyncIterable[Any], *, heartbeat_s: float | None = HEARTBEAT_S, describe: Describe | None = None
) -> AsyncGenerator[bytes, None]:
    """What a stream gives, as the bytes of server-sent events; several that are there at once come together.

    An event's name is the item's class, its data the item as JSON; text that begins with `data:` goes out as it is. In
    `heartbeat_s` seconds of silence a comment is sent. An error of the program is the last event, `Failed`, with the words of
    `describe(error)` (None: those of a DspexError, none of any other); what is no DspexError is raised too, for the
    server's log. Close the generator when the client has gone: that cancels the program.
    """
    channel = Channel()
    pump = asyncio.create_task(_pumped(stream, channel))
    pump.add_done_callback(lambda _: channel.end())
    try:
        while (batch := await _soon(channel, heartbeat_s)) is None or batch:
            yield HEARTBEAT if batch is None else b"".join(map(encoded, batch))
        failure = pump.exception()
        if isinstance(failure, Exception):
            yield encoded(Failed(type(failure).__name__, (describe or _words)(failure)))
        if failure is not None and not isinstance(failure, DspexError):
            raise failure
    finally:
        channel.leave()
        if not pump.done():
            pump.cancel()
            await asyncio.wait([pump])


async def _pumped(stream: AsyncIterable[Any], channel: Channel) -> None:
    """In one task, as a stream may hold timeouts of its own, which belong to the task that began them."""
    try:
        async for item in stream:
            channel.put(item)
            if channel.is_full:
                await channel.room()
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


async def _soon(channel: Channel, seconds: float | None) -> list[Any] | None:
    """What comes next, nothing at the end; None for so much silence."""
    if channel.items:
        return await channel.batch()
    try:
        async with asyncio.timeout(seconds):
            return await channel.batch()
    except TimeoutError:
        return None


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, DspexError) else ""


def encoded(item: Any) -> bytes:
    """One item as an event."""
    if isinstance(item, str) and item.startswith("data:"):
        return item.encode()
    data = msgspec.json.encode(item, enc_hook=_as_data)
    return b"event: %b\ndata: %b\n\n" % (type(item).__name__.encode(), data)


def _as_data(value: Any) -> Any:
    if isinstance(value, Example):
        return dict(value.items())
    try:
        return plain(value)
    except TypeError:
        return f"<{type(value).__name__}>"  # an object of the program's, of which a client can make nothing
