"""Objects that belong to one event loop, for code that is used from several."""

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from types import AsyncGeneratorType
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Keeps one object a running loop, made at first use; those of closed loops are dropped when one is made.

    With `ends_with_loop` an object is closed when its loop ends as asyncio.run ends one, so that none is left open.
    """

    def __init__(
        self, make: Callable[[], T], close: Callable[[T], Awaitable[None]], *, ends_with_loop: bool = False
    ) -> None:
        self._make = make
        self._ends_with_loop = ends_with_loop
        self._endings: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGeneratorType[None, None]] = (
            weakref.WeakKeyDictionary()
        )
        self._close = close
        self._made: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, T] = weakref.WeakKeyDictionary()
        self._last: tuple[weakref.ref[asyncio.AbstractEventLoop], T] | None = (
            None  # what `get` gave, and for which loop
        )
        self._lock = threading.Lock()

    def get(self) -> T:
        """The running loop's object."""
        loop = asyncio.get_running_loop()
        last = self._last
        if last is not None and last[0]() is loop:
            return last[1]
        found = self._made.get(loop)
        if found is None:
            with self._lock:
                for old in [known for known in self._made if known.is_closed()]:
                    del self._made[old]
                found = self._made.setdefault(loop, self._make())
                if self._ends_with_loop:
                    self._endings[loop] = at_loop_end(partial(self._close, found))
        self._last = weakref.ref(loop), found
        return found

    async def aclose(self) -> None:
        """Close the objects of all loops that still run, each on its own loop."""
        with self._lock:
            made = list(self._made.items())
            self._made.clear()
            self._last = None
        here = asyncio.get_running_loop()
        for loop, item in made:
            if loop is here:
                await self._close(item)
            elif loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(_closed(self._close, item), loop)
                await asyncio.wrap_future(closing)


def at_loop_end(close: Callable[[], Awaitable[None]]) -> "AsyncGeneratorType[None, None]":
    """Lets the running loop await `close` when it ends, or when nobody holds what this gives any more."""
    # asyncio.run and its like close the loop's asynchronous generators: the one hook that a loop's end has.
    ending = cast("AsyncGeneratorType[None, None]", _open_until_the_end(close))
    with suppress(StopIteration):
        ending.asend(None).send(None)
    return ending


async def _open_until_the_end(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await close()


async def _closed(close: Callable[[T], Awaitable[None]], item: T) -> None:
    await close(item)
