"""Names what holds an event loop: a thread that looks at the loops' threads, where somebody has asked for it."""

import asyncio
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from dspex.core.errors import ConfigurationError

LOOKS = 10  # within the limit: by a tenth of it a hold is judged too short or told of too late
STEP = ("_run", asyncio.events.__file__)  # the function that runs one callback or one step of a task
STANDARD = sysconfig.get_path("stdlib")
OURS = str(Path(__file__).parents[1])


class Watchdog:
    """Tells of each callback or step of a task that holds a loop for longer than `limit` seconds.

    `tell(what, where, seconds)` is called on the watchdog's thread while the hold still lasts: the function outside of
    dspex and the standard library that runs there, its file and line, and the time so far. Raises ConfigurationError for
    a limit that is none.
    """

    def __init__(self, limit: float, tell: Callable[[str, str, float], None]) -> None:
        if not limit > 0:
            raise ConfigurationError(f"watchdog={limit!r}: some seconds, as 0.05, or None for no watchdog.")
        self._limit = limit
        self._tell = tell
        self._watched: dict[asyncio.AbstractEventLoop, _Beat] = {}
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look after the loop of this thread, until it is closed."""
        if loop in self._watched:
            return
        with self._lock:
            self._watched[loop] = _Beat(loop, threading.get_ident())
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="dspex-watchdog", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _look(self) -> None:
        while not self._stopped.wait(self._limit / LOOKS):
            for loop, beat in tuple(self._watched.items()):
                if loop.is_closed():
                    del self._watched[loop]
                elif (held := beat.held(self._limit)) is not None:
                    self._tell(*_named(held), beat.seconds)


class _Beat:
    """The pulse of one loop: a callback that it has not come to run yet, and what it has been at since."""

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        self._loop = loop
        self._thread = thread
        self._answered = True
        self._step: FrameType | None = None
        self._since = 0.0
        self._told = False

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._since

    def held(self, limit: float) -> FrameType | None:
        """The innermost frame of a step that has just been found to last longer than the limit."""
        if self._answered:
            self._ask()
            return None
        if not self._loop.is_running():  # it stands still, and its thread is at something else
            return None
        innermost = sys._current_frames().get(self._thread)
        step = _step(innermost)
        if step is not self._step:
            self._step, self._since, self._told = step, time.monotonic(), False
        elif step is not None and not self._told and self.seconds > limit * (1 - 1 / LOOKS):
            self._told = True
            return innermost
        return None

    def _ask(self) -> None:
        self._answered, self._step = False, None
        try:
            self._loop.call_soon_threadsafe(self._answer)
        except RuntimeError:
            return  # closed just now

    def _answer(self) -> None:
        self._answered = True
        self._thread = threading.get_ident()


def _step(frame: FrameType | None) -> FrameType | None:
    """The frame that a loop's callback or a task's step began with, if the thread is in one."""
    while frame is not None and frame.f_back is not None:
        code = frame.f_back.f_code
        if (code.co_name, code.co_filename) == STEP:
            return frame
        frame = frame.f_back
    return None


def _named(frame: FrameType) -> tuple[str, str]:
    found: FrameType | None = frame
    while found is not None and _is_passed_over(found.f_code.co_filename):
        found = found.f_back
    shown = found or frame
    return shown.f_code.co_qualname, f"{shown.f_code.co_filename}:{shown.f_lineno}"


def _is_passed_over(filename: str) -> bool:
    is_standard = filename.startswith(STANDARD) and "site-packages" not in filename
    return is_standard or filename.startswith((OURS, "<frozen"))
