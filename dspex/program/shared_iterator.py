"""One source of numbered items that many workers read from."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedIterator(Generic[T]):
    """`make(index, item)` of each item of a plain or async source, which is asked for one at a time, when it is wanted."""

    def __init__(self, source: Iterable[Any] | AsyncIterable[Any], make: Callable[[int, Any], T]) -> None:
        self._source: Any = aiter(source) if isinstance(source, AsyncIterable) else iter(source)
        self._is_async = isinstance(source, AsyncIterable)
        self._make = make
        self._index = 0
        self._lock = asyncio.Lock()
        self._ended = False

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        async with self._lock:
            if self._ended:
                raise StopAsyncIteration
            try:
                item = await anext(self._source) if self._is_async else _next(self._source)
            except BaseException:
                self._ended = True
                raise
            index, self._index = self._index, self._index + 1
        return self._make(index, item)

    async def aclose(self) -> None:
        """Let an async source go, read to its end or not; a plain one is left as `for` leaves it."""
        close = getattr(self._source, "aclose", None) if self._is_async else None
        if close is not None:
            await close()


def _next(source: Any) -> Any:
    try:
        return next(source)
    except StopIteration:
        raise StopAsyncIteration from None
