"""Sync code in threads of its own, whose dspex calls end with whoever waits for it."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

WORK = "dspex-work "  # what the names of these threads begin with


class Begun(Protocol[T_co]):
    """A coroutine on a loop of another thread."""

    def cancel(self) -> None: ...

    def wait(self) -> T_co: ...


class Abandoned:
    """Says to sync code in a worker thread that nobody waits for it any more: its dspex calls are cancelled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_set = False
        self._call: Begun[Any] | None = None

    def set(self) -> None:
        """Cancel the call that runs, and any later one."""
        with self._lock:
            self._is_set = True
            if self._call is not None:
                self._call.cancel()

    def run(self, coro: Coroutine[Any, Any, T], begin: Callable[[Coroutine[Any, Any, T]], Begun[T]]) -> T:
        """The result of a coroutine that `begin` hands to a loop, unless abandoned."""
        with self._lock:
            if self._is_set:
                coro.close()
                raise asyncio.CancelledError
            call = begin(coro)
            self._call = call
        return call.wait()


ABANDONED: ContextVar[Abandoned | None] = ContextVar("dspex_abandoned", default=None)


async def in_thread(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run sync code in a thread of its own, in a copy of this context; there is no cap on their number.

    A thread cannot be stopped: if this is cancelled, the code goes on, but its dspex calls end as cancelled.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = copy_context()
    abandoned = Abandoned()
    context.run(ABANDONED.set, abandoned)

    def deliver(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def work() -> None:
        try:
            outcome: tuple[Any, BaseException | None] = (context.run(function, *args, **kwargs), None)
        except StopIteration as error:
            outcome = (None, RuntimeError(f"{function!r} raised {error!r}"))
        except BaseException as error:  # noqa: BLE001  as above
            outcome = (None, error)
        try:
            loop.call_soon_threadsafe(deliver, *outcome)
        except RuntimeError:
            return  # The loop is closed: nobody is left to tell.

    threading.Thread(target=work, name=f"{WORK}{getattr(function, '__name__', '')}", daemon=True).start()
    try:
        return await future
    except asyncio.CancelledError:
        abandoned.set()
        raise
