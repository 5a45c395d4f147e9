"""The logical calls of an App that have not ended: its stop waits for them, and ends them where it must."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from dspex.core.clock import Clock
from dspex.core.errors import Unavailable
from dspex.runtime.standing import STANDING
from dspex.service.alarm import Alarm, Ending, Timer

POLL_S = 0.02


class UnderWay:
    """Calls under way, over all loops and threads; once it has a `failure`, none begins any more.

    `watch`, where it is set, is told the loop of each call that begins. Calls whose loop was closed under them are ended when
    one begins on another loop, so that they give back what they hold.
    """

    __slots__ = ("_alarm", "_alarms", "failure", "watch")
    _alarms: tuple[Alarm, ...]
    _alarm: Alarm | None  # that of the last call's loop

    def __init__(self) -> None:
        self.failure: str | None = None
        self.watch: Callable[[asyncio.AbstractEventLoop], None] | None = None
        self.forked()

    def begin(self, call: Ending) -> Timer:
        """A call begins on the running loop, and ends when its timer is stopped, which is not set yet.

        Raises Unavailable after a failure.
        """
        if self.failure is not None:
            raise Unavailable(self.failure, retryable=False)
        task = asyncio.current_task()
        assert task is not None
        loop, alarm = task.get_loop(), self._alarm
        if alarm is None or alarm.loop is not loop:
            alarm = self._alarm = self._alarm_of(loop)
        if self.watch is not None:
            self.watch(loop)
        return Timer(alarm, task, call)

    def _calls(self) -> list[tuple[Timer, Ending]]:
        return [item for alarm in self._alarms for item in tuple(alarm.timers.items())]

    @property
    def count(self) -> int:
        """How many have not ended and can go on: their loop runs, and does not stand still for the caller."""
        standing, loops = STANDING.get(), [timer.task.get_loop() for timer, _ in self._calls()]
        return sum(loop.is_running() and loop not in standing for loop in loops)

    async def drained(self, seconds: float, clock: Clock) -> None:
        """Wait until all have ended, for so long at most."""
        until = clock.monotonic() + seconds
        while self.count and clock.monotonic() < until:
            await clock.sleep(POLL_S)

    def abort(self, why: str) -> None:
        """End all that are under way with Unavailable, each on its own loop."""
        for timer, call in self._calls():
            with suppress(RuntimeError):  # its loop is closed, so nobody waits for it
                timer.task.get_loop().call_soon_threadsafe(call.abort, Unavailable(why, retryable=False))

    def fail(self, why: str) -> None:
        """End all that are under way, and refuse all that come, with Unavailable."""
        self.failure = why
        self.abort(why)

    def _alarm_of(self, loop: asyncio.AbstractEventLoop) -> Alarm:
        known = {alarm: one for alarm in self._alarms if (one := alarm.loop) is not None}
        closed = [one for one in known.values() if one.is_closed()]
        for timer, _ in self._calls() if closed else ():
            if timer.task.get_loop() in closed:
                timer.stop()
                with suppress(RuntimeError, ValueError):  # it waits for more, or is just being closed
                    timer.task.get_coro().close()
        found = next((alarm for alarm, one in known.items() if one is loop), None) or Alarm(loop)
        self._alarms = tuple(alarm for alarm, one in {**known, found: loop}.items() if one not in closed)
        return found

    def forked(self) -> None:
        """In a forked child: the parent's calls are not ours."""
        self._alarms, self._alarm = (), None
