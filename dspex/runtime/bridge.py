"""The sync facade: one background loop that runs the same coroutines an async caller would await."""

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Generic, TypeVar

from dspex.runtime.driving import CANCEL_GRACE_S, Drive, Interrupts, Tasks, look
from dspex.runtime.standing import STANDING, stand
from dspex.runtime.worker_threads import ABANDONED

T = TypeVar("T")

UNSEEN_S = 0.1  # a loop that stood still for longer looks first at what came meanwhile


class Call(Generic[T]):
    """A coroutine handed to a loop of another thread; `wait` blocks the caller until it has ended."""

    __slots__ = ("_context", "_coro", "_done", "_error", "_loop", "_on_end", "_result", "_task")
    _result: T

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, T],
        context: Context,
        on_end: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._coro = coro
        self._context = context
        self._on_end = on_end
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._done = threading.Lock()
        self._done.acquire()
        loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._finish(), context=self._context)

    async def _finish(self) -> None:
        # Releasing here and not in a done callback saves a turn of the loop.
        try:
            self._result = await self._coro
        except BaseException as error:  # noqa: BLE001  it belongs to whoever waits
            self._error = error
        finally:
            self._on_end()
            self._done.release()

    def cancel(self) -> None:
        """Cancel the coroutine, from any thread."""
        self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())

    def wait(self) -> T:
        """Its result or error; Ctrl-C cancels it, gives it a moment to clean up, and goes on as KeyboardInterrupt."""
        try:
            stand(self._done)
        except BaseException:
            self.cancel()
            self._done.acquire(timeout=CANCEL_GRACE_S)
            raise
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None
        return self._result


class Bridge:
    """One event loop for sync calls, made at first use, and again in a forked child.

    It stands still while nobody needs it. A thread that makes the only call runs it meanwhile itself; a daemon thread does
    while there are several, where something stays behind on it, and for good once it was given away as `loop`.
    """

    def __init__(self, name: str = "dspex-bridge") -> None:
        self.name = name
        self.nested_calls = 0
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()  # a call that is collected as garbage ends in whichever thread it is
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks = Tasks()  # of the loop
        self._thread: threading.Thread | None = None
        self._is_driven = False  # by a caller's thread
        self._left_at = 0.0
        self._is_given_away = False
        self._ending: asyncio.AbstractEventLoop | None = None
        self._calls = 0  # handed over and not ended
        self._blocked = 0
        self._inner: Bridge | None = None
        self._pid = os.getpid()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, running from now on."""
        self._check_fork()
        with self._lock:
            self._is_given_away = True
            return self._served()

    def _check_fork(self) -> None:
        if self._pid != os.getpid():
            self.forked()

    def forked(self) -> None:
        """In a forked child, which has neither the thread nor a lock it can trust."""
        if self._inner is not None:
            self._inner.forked()
        if self._loop is not None:
            _forsake(self._loop)
        self._begin()

    def _made(self) -> asyncio.AbstractEventLoop:
        loop = self._loop = asyncio.new_event_loop()
        self._tasks = Tasks()
        loop.set_task_factory(self._tasks)
        weakref.finalize(self, _closed_where_it_stands, loop, self._pid)
        return loop

    def _served(self) -> asyncio.AbstractEventLoop:
        """The loop, that runs or is about to; under the lock."""
        loop = self._loop or self._made()
        if self._thread is None and not self._is_driven:
            self._thread = threading.Thread(target=self._serve, args=(loop,), name=self.name, daemon=True)
            self._thread.start()
        return loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while True:
            try:
                loop.run_forever()
                look(loop)  # what waits for the end of a task hears of it a turn later
            except (SystemExit, KeyboardInterrupt):
                continue  # one task of a user's raised it, and all others would wait for ever
            with self._lock:
                if loop is self._loop and not (self._is_given_away or self._calls or self._tasks.left_on(loop)):
                    self._thread = None
                    return
                if loop is not self._loop and loop is not self._ending:
                    return

    def _ended(self) -> None:
        with self._lock:
            self._calls -= 1
            if not self._calls and self._thread is not None and not self._is_given_away and self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)

    def start(self, coro: Coroutine[Any, Any, T], context: Context | None = None) -> Call[T]:
        """Begin a coroutine on the loop and return at once."""
        self._check_fork()
        with self._lock:
            self._calls += 1
            return Call(self._served(), coro, context or copy_context(), self._ended)

    def run(self, coro: Coroutine[Any, Any, T], context: Context | None = None) -> T:
        """Run a coroutine to its end in a copy of the caller's context.

        Called where the loop runs, as sync user code may do, it is served by a second bridge; and while the loop
        waits there, so does every other call, since what it waits for may need one of them.
        """
        self._check_fork()
        running, abandoned, context = asyncio._get_running_loop(), ABANDONED.get(), context or copy_context()
        if running is not None:
            self.nested_calls += 1
            context.run(STANDING.set, STANDING.get() | {running})
            if running is self._loop:
                self._blocked += 1
                try:
                    return self._second().run(coro, context)
                finally:
                    self._blocked -= 1
        if self._blocked:
            return self._second().run(coro, context)
        if abandoned is not None:
            return abandoned.run(coro, partial(self.start, context=context))
        return self.start(coro, context).wait() if running is not None else self._run_here(coro, context)

    def _run_here(self, coro: Coroutine[Any, Any, T], context: Context) -> T:
        """As `run`; where the loop stands still by this thread itself, for which no other has to wake up."""
        with Interrupts() as interrupts:
            loop = self._taken()
            if loop is not None:
                try:
                    if time.monotonic() - self._left_at > UNSEEN_S:
                        look(loop)
                    return Drive(loop, coro, context).run(interrupts)
                finally:
                    self._leave(loop)
        return self.start(coro, context).wait()

    def _taken(self) -> asyncio.AbstractEventLoop | None:
        with self._lock:
            if self._thread is not None or self._is_driven:
                return None
            self._is_driven = True
            return self._loop or self._made()

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._is_driven, self._left_at = False, time.monotonic()
            if loop is not self._loop:  # the bridge was stopped
                loop.close()
            elif self._is_given_away or self._calls or self._tasks.left_on(loop):
                self._served()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While it is entered the loop, if there is one, runs."""
        self._check_fork()
        with self._lock:
            self._calls += 1
            if self._loop is not None:
                self._served()
        try:
            yield
        finally:
            self._ended()

    @property
    def runs_here(self) -> bool:
        """Whether its loop is the running one, and stands still until the caller is done."""
        return self._loop is not None and asyncio._get_running_loop() is self._loop

    def _second(self) -> "Bridge":
        with self._lock:
            self._inner = self._inner or Bridge(f"{self.name}+")
            return self._inner

    def stop(self) -> None:
        """Cancel what runs, stop the loop and join the thread, if there is any."""
        if self._pid != os.getpid():
            return
        with self._lock:
            loop, inner = self._loop, self._inner
            is_idle = loop is not None and self._is_idle(loop)
            if loop is not None and not is_idle:
                self._served()
            thread, self._ending = self._thread, None if is_idle else loop
            self._loop = self._thread = self._inner = None
            self._is_given_away = False
        if inner is not None:
            inner.stop()
        if loop is not None and is_idle:
            look(loop)  # what was closed may have said so for its next turn
            loop.close()
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(CANCEL_GRACE_S * 2)
        self._ending = None
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CANCEL_GRACE_S * 2)
        if not thread.is_alive():
            loop.close()

    def _is_idle(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it stands still, with nothing to cancel, and this thread can run its last turn; under the lock."""
        is_free = self._thread is None and not self._is_driven and asyncio._get_running_loop() is None
        return is_free and not self._tasks.left_on(loop)


def _forsake(loop: Any) -> None:
    # To close a parent's loop as usual, as its end does, would take its self-pipe out of the epoll that both share.
    with suppress(AttributeError):  # of a loop that is not asyncio's own
        loop._closed = True
        for part in (loop._selector, loop._ssock, loop._csock):
            part.close()


def _closed_where_it_stands(loop: asyncio.AbstractEventLoop, pid: int) -> None:
    if pid == os.getpid() and not loop.is_running():
        loop.close()


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CANCEL_GRACE_S)
