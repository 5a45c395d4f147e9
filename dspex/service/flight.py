"""Equal calls in flight are one call: the first leads, the others take its reply or its provider's error."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from dspex.core.errors import BudgetExceeded, LMError, PluginError
from dspex.runtime.standing import STANDING

T = TypeVar("T")


class Flight(Generic[T]):
    """One leader's call and those who wait for it."""

    __slots__ = ("loop", "waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[T | None]]] = []

    def after(self, gone: "Flight[T] | None") -> "Flight[T]":
        """This one, with those who wait for another in vain."""
        if gone is not None:
            self.waiters, gone.waiters = gone.waiters, []
        return self


class SingleFlight(Generic[T]):
    """Joins equal calls over all loops and threads.

    A leader that ends by its own deadline, budget or cancellation hands over to a follower; a follower keeps its own
    deadline.
    """

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight[T]] = {}
        self._lock = threading.Lock()

    async def join(self, key: bytes, lead: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """The reply for `key`, and whether somebody else led."""
        loop = asyncio.get_running_loop()
        while True:
            with self._lock:
                flight = self._flights.get(key)
                if flight is None or flight.loop.is_closed():  # with its leader, who could not hand over
                    flight = self._flights[key] = Flight[T](loop).after(flight)
                    future = None
                elif flight.loop in STANDING.get():
                    break
                else:
                    future = loop.create_future()
                    flight.waiters.append((loop, future))
            if future is None:
                return await self._lead(key, flight, lead), False
            reply = await future
            if reply is not None:
                return reply, True
        return await lead(), False  # the leader's loop stands still until we are done

    async def _lead(self, key: bytes, flight: Flight[T], lead: Callable[[], Awaitable[T]]) -> T:
        try:
            reply = await lead()
        except BaseException as error:
            own = isinstance(error, BudgetExceeded) or getattr(error, "code", None) == "deadline"
            shared = isinstance(error, (LMError, PluginError)) and not own
            self._land(key, flight, None, error if shared else None)
            raise
        self._land(key, flight, reply, None)
        return reply

    def _land(self, key: bytes, flight: Flight[T], reply: T | None, error: BaseException | None) -> None:
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]
        for loop, future in flight.waiters:
            try:
                loop.call_soon_threadsafe(_settle, future, reply, error)
            except RuntimeError:
                continue  # That loop is closed and its follower gone with it.


def _settle(future: "asyncio.Future[T | None]", reply: T | None, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(reply)
