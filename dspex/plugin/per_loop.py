"""Objects that belong to one event loop, for code that is used from several."""

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Keeps one object a running loop, made at first use; those of closed loops are dropped when one is made."""

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
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


async def _closed(close: Callable[[T], Awaitable[None]], item: T) -> None:
    await close(item)
