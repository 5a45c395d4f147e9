"""How many requests may be in flight at an endpoint, over all loops and threads of the process."""

import asyncio
import threading
from collections import deque
from contextlib import suppress

from dspex.core.errors import RateLimited
from dspex.runtime.bridge import LoopCounts

QUEUE_LIMIT = 10_000

Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class InFlight:
    """A first-come-first-served gate; beyond QUEUE_LIMIT waiting requests it refuses with RateLimited.

    A call that a loop stands still for passes at once if that loop's own calls are here: they would never end before it.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._waiters: deque[Waiter] = deque()
        self._loops = LoopCounts()
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Permits that are out."""
        return self.limit - self._free

    async def acquire(self) -> None:
        """Take a permit, in order of arrival."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._free > 0 or self._loops.stands:
                self._free -= 1
                self._loops.change(+1)
                return
            if len(self._waiters) >= QUEUE_LIMIT:
                raise RateLimited(f"{QUEUE_LIMIT} requests wait already for one of {self.limit} places in flight.")
            future: asyncio.Future[None] = loop.create_future()
            self._waiters.append((loop, future))
            self._loops.change(+1)
        try:
            await future
        except asyncio.CancelledError:
            self._give_up(loop, future)
            raise

    def _give_up(self, loop: asyncio.AbstractEventLoop, future: "asyncio.Future[None]") -> None:
        with self._lock:
            if (loop, future) in self._waiters:
                self._waiters.remove((loop, future))
                self._loops.change(-1)
                return
        # The permit was on its way: if it has arrived it is ours to return, else the grant finds us gone.
        if future.done() and not future.cancelled():
            self.release()

    def release(self) -> None:
        """Give a permit back, or straight to the next that waits."""
        with self._lock:
            self._loops.change(-1)
            while self._waiters and self._free >= 0:
                loop, future = self._waiters.popleft()
                with suppress(RuntimeError):  # of a closed loop, whose waiter is gone with it
                    loop.call_soon_threadsafe(self._grant, future)
                    return
                self._loops.change(-1, loop)
            self._free += 1

    def _grant(self, future: "asyncio.Future[None]") -> None:
        if future.done():
            self.release()
        else:
            future.set_result(None)
