"""What calls share on one loop: a timer for all their deadlines, as nearly none of them ever rings, and when they go out."""

import asyncio
import math
import weakref
from typing import Any, Protocol

from dspex.core.errors import LMError
from dspex.service.crowd import Crowd

LOOK_S = 1e-6  # a timer; looking is rarer the more there are, so that it takes a few hundredths of the time at most


class Ending(Protocol):
    """What can be ended by another."""

    def abort(self, error: LMError) -> None:
        """End with this error; on its own loop."""


class Timer:
    """The time limit of a call in its task, with the meaning of asyncio.timeout; begin it where the call begins.

    From its making until its `stop` it stands in its alarm's `timers`, with the call.
    """

    when = math.inf
    _is_over = False
    _is_ours: bool | None = None

    def __init__(self, alarm: "Alarm", task: "asyncio.Task[Any]", call: Ending) -> None:
        self.alarm = alarm
        self.task = task
        self._cancelling = task.cancelling()
        alarm.timers[self] = call

    def reschedule(self, when: float) -> None:
        """Cancel the work at that time of its loop."""
        self.when = when
        if when < self.alarm.next_at:
            self.alarm.set(when)

    def ring(self) -> None:
        """The time is over."""
        self._is_over = True
        del self.alarm.timers[self]
        self.task.cancel()

    def expired(self) -> bool:
        """Whether the work was cancelled by this."""
        return self._is_over

    def stop(self) -> bool:
        """The work has ended; whether it was cancelled by this alone."""
        if not self._is_over:
            self.alarm.timers.pop(self, None)
            return False
        if self._is_ours is None:
            self._is_ours = self.task.uncancel() <= self._cancelling
        return self._is_ours


class Alarm:
    """The timers of one loop; it is looked at when the earliest of them may ring."""

    __slots__ = ("_handle", "_loop", "crowd", "next_at", "timers")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._handle: asyncio.TimerHandle | None = None
        self.crowd = Crowd()
        self.next_at = math.inf
        self.timers: dict[Timer, Ending] = {}

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Whose it is."""
        return self._loop()

    def set(self, when: float) -> None:
        """Look at the timers then, instead of later."""
        if self._handle is not None:
            self._handle.cancel()
        loop = self._loop()
        assert loop is not None  # it runs: one of its tasks asks
        self.next_at, self._handle = when, loop.call_at(when, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        now = max(self.next_at, loop.time())  # a loop may be early by the resolution of its clock
        self.next_at, self._handle = math.inf, None
        for timer in [timer for timer in self.timers if timer.when <= now]:
            timer.ring()
        earliest = min((timer.when for timer in self.timers), default=math.inf)
        if earliest < math.inf:
            self.set(max(earliest, now + LOOK_S * len(self.timers)))
