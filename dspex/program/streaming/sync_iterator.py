"""A plain generator of what an async one gives."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
from contextvars import copy_context
from typing import Any

from dspex.app.app import current_app
from dspex.runtime.bridge import Bridge


def apply_sync_streaming(async_generator: AsyncIterator[Any]) -> Generator[Any, None, None]:
    """A plain generator of what an async one gives; closing it closes that too. Good inside a running loop, which then waits."""
    close = getattr(async_generator, "aclose", _nothing)

    async def batch() -> Sequence[Any]:
        try:
            return (await anext(async_generator),)
        except StopAsyncIteration:
            return ()

    return flat(batch, close)


async def _nothing() -> None:
    return


def flat(
    batch: Callable[[], Coroutine[Any, Any, Sequence[Any]]],
    close: Callable[[], Awaitable[None]],
    waited: Callable[[], Sequence[Any]] | None = None,
) -> Generator[Any, None, None]:
    """The items of all batches until an empty one, each asked for on the bridge; all behind the first by `waited`, if it is given."""
    context = copy_context()
    bridge = current_app().bridge
    # On the bridge's own thread its loop stands still until we are done.
    own = Bridge("dspex-stream") if bridge.runs_here else None
    runner = own or bridge
    is_over = False
    try:
        items = runner.start(batch(), context).wait()
        while items:
            yield from items
            items = waited() if waited is not None else runner.start(batch(), context).wait()
        is_over = waited is not None  # its end is seen here, so there is nothing left to close
    finally:
        if not is_over:
            runner.start(_closed(close), context).wait()
        if own is not None:
            own.stop()


async def _closed(close: Callable[[], Awaitable[None]]) -> None:
    await close()
