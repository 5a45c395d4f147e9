"""Many calls of one loop at once: a few go out at each of its turns, so that all else on it is not held up by them."""

import asyncio
from collections import deque

SMALL = 32  # calls under way at an endpoint that go out as they come: a call takes some 0.1 ms of the loop
A_TURN = 16  # of more go out at each turn of the loop


class Crowd:
    """The calls that are about to go out on one loop."""

    __slots__ = ("_is_open", "_left", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._left = A_TURN
        self._is_open = False

    async def turn(self) -> None:
        """Come back when it may go out: at once while few have in this turn of the loop."""
        loop = asyncio.get_running_loop()
        if not self._is_open:
            self._is_open, self._left = True, A_TURN
            loop.call_soon(self._next, loop)
        if self._left:
            self._left -= 1
            return
        future = loop.create_future()
        self._waiting.append(future)
        await future

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting, left = self._waiting, A_TURN
        while waiting and left:
            future = waiting.popleft()
            if not future.done():  # else it was cancelled
                future.set_result(None)
                left -= 1
        self._left, self._is_open = left, bool(waiting)
        if waiting:
            loop.call_soon(self._next, loop)
