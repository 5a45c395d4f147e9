"""The logical calls of an App that have not ended: its stop waits for them, and ends them where it must."""

import asyncio
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from dspex.core.clock import Clock
from dspex.core.errors import LMError, Unavailable
from dspex.runtime.bridge import STANDING

POLL_S = 0.02


class Ending(Protocol):
    """What can be ended by another."""

    def abort(self, error: LMError) -> None:
        """End with this error; on its own loop."""


class UnderWay:
    """Calls under way, over all loops and threads; once it has a `failure`, none begins any more.

    `watch`, where it is set, is told the loop of each call that begins. Calls whose loop was closed under them are ended when
    one begins on another loop, so that they give back what they hold.
    """

    __slots__ = ("_calls", "_last", "_loops", "failure", "watch")

    def __init__(self) -> None:
        self.failure: str | None = None
        self.watch: Callable[[asyncio.AbstractEventLoop], None] | None = None
        self._calls: dict[Ending, asyncio.Task[Any]] = {}
        self._loops: tuple[weakref.ref[asyncio.AbstractEventLoop], ...] = ()
        self._last = 0  # the id of the last call's loop

    def begin(self, call: Ending) -> None:
        """A call begins on the running loop. Raises Unavailable after a failure."""
        if self.failure is not None:
            raise Unavailable(self.failure, retryable=False)
        task = asyncio.current_task()
        assert task is not None
        self._calls[call] = task
        loop = task.get_loop()
        if id(loop) != self._last:
            self._look_at_loops(loop)
        if self.watch is not None:
            self.watch(loop)

    def end(self, call: Ending) -> None:
        """It has ended."""
        self._calls.pop(call, None)

    @property
    def count(self) -> int:
        """How many have not ended and can go on: their loop runs, and does not stand still for the caller."""
        standing, loops = STANDING.get(), [task.get_loop() for task in tuple(self._calls.values())]
        return sum(loop.is_running() and loop not in standing for loop in loops)

    async def drained(self, seconds: float, clock: Clock) -> None:
        """Wait until all have ended, for so long at most."""
        until = clock.monotonic() + seconds
        while self.count and clock.monotonic() < until:
            await clock.sleep(POLL_S)

    def abort(self, why: str) -> None:
        """End all that are under way with Unavailable, each on its own loop."""
        for call, task in tuple(self._calls.items()):
            with suppress(RuntimeError):  # its loop is closed, so nobody waits for it
                task.get_loop().call_soon_threadsafe(call.abort, Unavailable(why, retryable=False))

    def fail(self, why: str) -> None:
        """End all that are under way, and refuse all that come, with Unavailable."""
        self.failure = why
        self.abort(why)

    def _look_at_loops(self, loop: asyncio.AbstractEventLoop) -> None:
        self._last = id(loop)
        known = [one for ref in self._loops if (one := ref()) is not None]
        closed = [one for one in known if one.is_closed()]
        self._loops = tuple(weakref.ref(one) for one in {*known, loop} if one not in closed)
        for call, task in tuple(self._calls.items()) if closed else ():
            if task.get_loop() in closed:
                self.end(call)
                with suppress(RuntimeError, ValueError):  # it waits for more, or is just being closed
                    task.get_coro().close()

    def forked(self) -> None:
        """In a forked child: the parent's calls are not ours."""
        self._calls = {}
