"""A loop that stands still is run by the thread that needs it, for one call: no other thread has to wake up for that."""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from importlib import import_module
from typing import Any, Generic, Self, TypeVar
from weakref import ref

T = TypeVar("T")

CANCEL_GRACE_S = 1.0
FORGET = 64  # references to tasks that have ended, at most
# `signal.signal` without its look-ups of enums, which take a tenth of a call.
set_handler: Callable[[int, Any], Any] = import_module("_signal").signal


class Interrupts:
    """While it is entered in the main thread, Ctrl-C is counted and told to a Drive.

    Else KeyboardInterrupt would be raised anywhere in the loop, and leave it or the call half done. A handler of the
    user's own stays.
    """

    __slots__ = ("_is_main", "_is_set", "_woken_before", "count", "tell")

    def __init__(self) -> None:
        self.count = 0
        self.tell: Callable[[], object] | None = None
        self._is_main = self._is_set = False
        self._woken_before: int | None = None

    def __enter__(self) -> Self:
        try:
            before = set_handler(signal.SIGINT, self._came)
        except ValueError:  # only the main thread has handlers
            return self
        self._is_main = True
        self._is_set = before is signal.default_int_handler
        if not self._is_set:
            set_handler(signal.SIGINT, before)
        return self

    def wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let a signal end the wait of this loop: the handler of one that comes just before it begins would run only after it."""
        socket = getattr(loop, "_csock", None)
        if self._is_main and socket is not None:  # loops that are not asyncio's own do so themselves
            self._woken_before = signal.set_wakeup_fd(socket.fileno(), warn_on_full_buffer=False)

    def let_sleep(self) -> None:
        """Wake what was woken before; the loop may be closed from now on."""
        if self._woken_before is None:
            return
        try:
            signal.set_wakeup_fd(self._woken_before)
        except (OSError, ValueError):  # it was closed meanwhile
            signal.set_wakeup_fd(-1)

    def __exit__(self, *_error: object) -> None:
        if self._is_set:
            set_handler(signal.SIGINT, signal.default_int_handler)

    def _came(self, *_signal: object) -> None:
        self.count += 1
        if self.tell is not None:
            self.tell()


class Tasks:
    """The factory of a loop's tasks, which knows of any that have not ended without a look at the tasks of all loops.

    It keeps none: what a task that has ended leaves behind would be looked through by each garbage collection.
    """

    __slots__ = ("_begun", "_kept")

    def __init__(self) -> None:
        self._begun: list[ref[asyncio.Task[Any]]] = []
        self._kept = 0

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **how: Any) -> "asyncio.Task[Any]":
        task = asyncio.Task(coro, loop=loop, **how)
        self._begun.append(ref(task))
        if len(self._begun) > 2 * self._kept + FORGET:
            self._look()
        return task

    def _look(self) -> None:
        self._begun = [one for one in self._begun if (task := one()) is not None and not task.done()]
        self._kept = len(self._begun)

    def left_on(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether any have not ended, on the loop that this is of."""
        if loop.get_task_factory() is not self:  # somebody has put another in its place
            return bool(asyncio.all_tasks(loop))
        if self._begun:
            self._look()
        return self._begun != []


def look(loop: asyncio.AbstractEventLoop) -> None:
    """Let a loop that has stood still see what came meanwhile, as that a server has closed its connections."""
    loop.call_soon(loop.stop)
    loop.run_forever()


class Drive(Generic[T]):
    """One coroutine on a loop that the calling thread runs until it has ended.

    Ctrl-C cancels it, gives it a moment to clean up, and goes on as KeyboardInterrupt; a second one does not wait.
    """

    __slots__ = ("_context", "_coro", "_error", "_giving_up", "_is_over", "_loop", "_result", "_task")
    _result: T

    def __init__(self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, T], context: Context) -> None:
        self._loop = loop
        self._coro = coro
        self._context = context
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._is_over = False  # it has ended, or nobody waits for it any more
        self._giving_up: asyncio.TimerHandle | None = None

    def run(self, interrupts: Interrupts) -> T:
        """Its result or error."""
        loop = self._loop
        self._task = asyncio.Task(self._finish(), loop=loop, context=self._context)
        interrupts.tell = self._interrupted
        interrupts.wake(loop)
        try:
            if interrupts.count:
                self._interrupted()
            while not self._is_over:  # others may stop the loop too
                try:
                    loop.run_forever()
                except (SystemExit, KeyboardInterrupt):
                    if threading.current_thread() is threading.main_thread():
                        raise
                    # Handlers run in the main thread alone: some other task has raised it.
        except BaseException:  # of a handler of the user's
            self._interrupted()
            while not self._is_over:
                loop.run_forever()
            raise
        finally:
            self._is_over = True
            interrupts.let_sleep()
            if self._giving_up is not None:
                self._giving_up.cancel()
                # Where it has not come to its first step, or takes longer to clean up: what it fails with then says nothing.
                with suppress(Exception):
                    self._context.run(self._coro.close)
        if interrupts.count:
            raise KeyboardInterrupt from self._error
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None
        return self._result

    async def _finish(self) -> None:
        # Stopping here and not in a done callback saves a turn of the loop.
        try:
            self._result = await self._coro
        except BaseException as error:  # noqa: BLE001  it belongs to whoever waits
            self._error = error
        finally:
            self._stop()

    def _stop(self, *_task: object) -> None:
        if not self._is_over:
            self._is_over = True
            self._loop.stop()

    def _interrupted(self) -> None:
        task = self._task
        if task is not None and not task.cancelling():
            task.cancel()  # at once, as a sync call below it, for which the loop stands still, looks for that
        self._loop.call_soon_threadsafe(self._give_up)  # which wakes the loop

    def _give_up(self) -> None:
        if self._giving_up is None and self._task is not None:
            self._task.add_done_callback(self._stop)
            self._giving_up = self._loop.call_later(CANCEL_GRACE_S, self._stop)
        else:
            self._stop()
