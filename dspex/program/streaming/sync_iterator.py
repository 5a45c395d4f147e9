"""A plain generator of what an async one gives."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextvars import copy_context
from typing import Any

from dspex.app.app import current_app
from dspex.runtime.bridge import Bridge


def apply_sync_streaming(async_generator: AsyncIterator[Any]) -> Generator[Any, None, None]:
    """A plain generator of what an async one gives; closing it closes that too. Good inside a running loop, which then waits."""
    context = copy_context()
    bridge = current_app().bridge
    # On the bridge's own thread its loop stands still until we are done.
    own = Bridge("dspex-stream") if asyncio._get_running_loop() is bridge.loop else None
    runner = own or bridge
    try:
        while True:
            try:
                item = runner.start(_next(async_generator), context).wait()
            except StopAsyncIteration:
                return
            yield item
    finally:
        close = getattr(async_generator, "aclose", None)
        if close is not None:
            runner.start(_closed(close), context).wait()
        if own is not None:
            own.stop()


async def _next(iterator: AsyncIterator[Any]) -> Any:
    return await anext(iterator)


async def _closed(close: Callable[[], Any]) -> None:
    await close()
