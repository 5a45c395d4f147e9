"""The first steps of a sync call, which its own thread makes: one that is answered in them needs no loop."""

from collections.abc import Coroutine, Generator
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from dspex.runtime.bridge import Bridge

T = TypeVar("T")

_STEPPING: ContextVar[bool] = ContextVar("dspex_stepping", default=False)


class _Hop:
    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        if _STEPPING.get():
            yield self


HOP = _Hop()


def run_stepped(bridge: Bridge, coro: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on this thread up to its first `await HOP`, and only the rest on the bridge.

    A call that is answered before it needs a loop, such as a cache hit, runs none.
    """
    context = copy_context()
    context.run(_STEPPING.set, True)
    try:
        context.run(coro.send, None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    context.run(_STEPPING.set, False)
    return bridge.run(_Started(coro), context)


class _Started(Coroutine[Any, Any, T]):
    """A coroutine that has begun already, which `await` itself refuses."""

    __slots__ = ("_coro",)

    def __init__(self, coro: Coroutine[Any, Any, T]) -> None:
        self._coro = coro

    def send(self, value: Any) -> Any:
        return self._coro.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coro.throw(*error)

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> "_Started[T]":
        return self

    def __iter__(self) -> "_Started[T]":
        return self

    def __next__(self) -> Any:
        return self._coro.send(None)
