"""The time by which all that a block waits for has to have ended."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from dspex.core.clock import Clock
from dspex.core.errors import DeadlineExceeded
from dspex.runtime.stepping import HOP

T = TypeVar("T")


class Deadline(msgspec.Struct, frozen=True, eq=False):
    """So many `seconds` after it was set, which is `at` that time of the `clock`."""

    clock: Clock
    seconds: float
    at: float

    @property
    def left(self) -> float:
        """Seconds until then, less than 0 afterwards."""
        return self.at - self.clock.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether that time has come."""
        return self.left <= 0

    def check(self) -> None:
        """Raises DeadlineExceeded if it is over."""
        if self.is_over:
            raise self.exceeded()

    def exceeded(self) -> DeadlineExceeded:
        """The error of what had not ended by then."""
        return DeadlineExceeded(
            f"The {self.seconds:g} s that dspex.deadline gives this block are over.",
            unit="seconds",
            limit=self.seconds,
            spent=self.seconds - self.left,
        )

    async def bound(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, which is cancelled at that time, and not begun after it. Raises DeadlineExceeded."""
        await HOP  # a timer needs a task
        self.check()
        limit = asyncio.timeout(self.left)
        try:
            async with limit:
                return await work()
        except TimeoutError:
            if not limit.expired():
                raise
        raise self.exceeded()
