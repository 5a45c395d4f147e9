"""Hedging: when an attempt takes unusually long a second one is sent beside it, and the first reply counts."""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from dspex.core.clock import Clock
from dspex.core.errors import ConfigurationError

T = TypeVar("T")

WINDOW = 200  # attempts that a percentile is taken of
LEAST = 20  # below it a percentile says nothing, and nothing is hedged
FRESH = 10  # attempts that a percentile is kept for


def checked_after(after: float | str) -> float | str:
    """`after` as it is. Raises ConfigurationError unless it is seconds or a percentile such as "p95"."""
    is_percentile = isinstance(after, str) and re.fullmatch(r"p\d{1,2}(\.\d+)?", after)
    if is_percentile or (isinstance(after, (int, float)) and after >= 0):
        return after
    raise ConfigurationError(f'hedge after {after!r}: seconds, or a percentile of the usual time such as "p95".')


class Hedge:
    """How long attempts at one endpoint take, and the race between two of them.

    `may_send` is asked before a second attempt: while an endpoint is in trouble, doubling its load helps nobody.
    """

    def __init__(self, clock: Clock, may_send: Callable[[], bool]) -> None:
        self._clock = clock
        self._may_send = may_send
        self._seconds: deque[float] = deque(maxlen=WINDOW)
        self._known: dict[str, tuple[int, float]] = {}
        self._count = 0

    async def race(
        self, after: float | str, attempt: Callable[[], Coroutine[Any, Any, T]], on_lost: Callable[[], None]
    ) -> T:
        """The reply that comes first; the other attempt is cancelled, and `on_lost` told."""
        began = self._clock.monotonic()
        wait = self._percentile(after) if isinstance(after, str) else after
        reply = await (attempt() if wait is None else self._raced(wait, attempt, on_lost))
        self._seconds.append(self._clock.monotonic() - began)
        self._count += 1
        return reply

    async def _raced(
        self, wait: float, attempt: Callable[[], Coroutine[Any, Any, T]], on_lost: Callable[[], None]
    ) -> T:
        tasks = [asyncio.create_task(attempt())]
        try:
            await asyncio.wait(tasks, timeout=wait)
            if not tasks[0].done() and self._may_send():
                tasks.append(asyncio.create_task(attempt()))
            while True:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                answered = [task for task in tasks if task.done() and not task.cancelled() and not task.exception()]
                if answered:
                    return answered[0].result()
                running = [task for task in tasks if not task.done()]
                if not running:
                    return tasks[0].result()
                await asyncio.wait(running)
        finally:
            await _cancelled(tasks, on_lost)

    def _percentile(self, name: str) -> float | None:
        count, seconds = self._known.get(name, (-FRESH, 0.0))
        if self._count - count >= FRESH:
            if len(self._seconds) < LEAST:
                return None
            ordered = sorted(self._seconds)
            seconds = ordered[min(len(ordered) - 1, int(len(ordered) * float(name[1:]) / 100))]
            self._known[name] = (self._count, seconds)
        return seconds


async def _cancelled(tasks: list[asyncio.Task[T]], on_lost: Callable[[], None]) -> None:
    for task in tasks:
        if not task.done():
            task.cancel()
            on_lost()
    await asyncio.gather(*tasks, return_exceptions=True)
