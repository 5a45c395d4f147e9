"""How long something is waited for that a call can do without, and going on with an awaitable that has begun."""

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

LATE_S = 0.005  # a timer that rings so much later says that the loop is busy, and nothing of what is waited for


async def in_patience(work: Awaitable[T], seconds: float) -> T:
    """The result, if it comes within `seconds` in which the loop is not held up by others. Raises TimeoutError.

    What is there at once needs no timer.
    """
    steps = work.__await__()
    try:
        waits_for = next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    async with asyncio.timeout(None) as timer:
        watch = _Watch(timer, seconds)
        try:
            return await rest_of(steps, waits_for)
        finally:
            watch.stop()


class _Watch:
    """Looks after `seconds`, and again after so many if the loop was busy; then time is up."""

    __slots__ = ("_handle", "_loop", "_seconds", "_timer")

    def __init__(self, timer: asyncio.Timeout, seconds: float) -> None:
        self._timer = timer
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._set()

    def stop(self) -> None:
        self._handle.cancel()

    def _set(self) -> None:
        self._handle = self._loop.call_later(self._seconds, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        if now - self._handle.when() > LATE_S:
            self._set()
        else:
            self._timer.reschedule(now)


@types.coroutine
def rest_of(steps: Generator[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Goes on with an awaitable that has made its first step."""
    while True:
        step: Callable[[], Any] = partial(next, steps)
        try:
            yield waits_for
        except BaseException as error:  # noqa: BLE001  it is the awaitable's
            step = partial(steps.throw, error)
        try:
            waits_for = step()
        except StopIteration as stop:
            result: T = stop.value
            return result
