"""From a running program to its reader: what was sent, in order, from any loop or thread, and never too much of it."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dspex.runtime.standing import stand

LIMIT = 128  # items that wait for the reader before senders wait too; as many again may be in its hands

Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class Channel:
    """One reader, on the loop that made it or (`waited`) in a thread that stands still meanwhile. Order of reads and writes replaces locks: each side looks again after it has
    said that it waits.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.items: deque[Any] = deque()
        self._reader: asyncio.Future[None] | threading.Lock | None = None
        self._senders: deque[Waiter] = deque()
        self._is_ended = False
        self._is_left = False

    def put(self, item: Any) -> None:
        """Send without waiting; whoever sends much awaits `room` when `is_full`."""
        if not self._is_left:
            self.items.append(item)
            if self._reader is not None:
                self._wake_reader()

    @property
    def is_full(self) -> bool:
        """Whether the reader is behind."""
        return len(self.items) >= LIMIT and not self._is_left

    async def room(self) -> None:
        """Wait until the reader has caught up, or left."""
        loop = asyncio.get_running_loop()
        while self.is_full:
            future = loop.create_future()
            self._senders.append((loop, future))
            if self.is_full:
                await future

    async def batch(self) -> list[Any]:
        """All that is there, at least one item; nothing at the end."""
        while not self.items:
            if self._is_ended:
                return []
            reader = self._reader = self._loop.create_future()
            if not (self.items or self._is_ended):
                await reader
        return self._taken()

    def waited(self) -> list[Any]:
        """`batch`, from a thread that is not the loop's."""
        while not self.items:
            if self._is_ended:
                return []
            gate = threading.Lock()
            gate.acquire()
            self._reader = gate
            if not (self.items or self._is_ended):
                stand(gate)
        return self._taken()

    def _taken(self) -> list[Any]:
        # One by one: a sender of another thread may add to them meanwhile.
        items = [self.items.popleft() for _ in range(len(self.items))]
        if self._senders:
            self._wake_senders()
        return items

    def end(self) -> None:
        """Nothing more will be sent."""
        self._is_ended = True
        self._wake_reader()

    def leave(self) -> None:
        """Nobody reads any more; what is sent is dropped."""
        self._is_left = True
        self.items.clear()
        self._wake_senders()

    def _wake_reader(self) -> None:
        reader = self._reader
        if reader is None:
            return
        self._reader = None
        if not isinstance(reader, asyncio.Future):
            with suppress(RuntimeError):  # two senders at once, and the other one was first
                reader.release()
        elif asyncio._get_running_loop() is self._loop:
            _wake(reader)
        else:
            _wake_on(self._loop, reader)

    def _wake_senders(self) -> None:
        while self._senders:
            _wake_on(*self._senders.popleft())


def _wake_on(loop: asyncio.AbstractEventLoop, future: "asyncio.Future[None]") -> None:
    try:
        loop.call_soon_threadsafe(_wake, future)
    except RuntimeError:
        return  # That loop is closed and its waiter gone with it.


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class SendStream:
    """`dspex.settings.send_stream` inside a streamed program: objects of the program's own go to the stream's reader."""

    __slots__ = ("_channel", "_made")

    def __init__(self, channel: Channel, made: Callable[[Any], Any] = lambda item: item) -> None:
        self._channel = channel
        self._made = made

    async def send(self, item: Any) -> None:
        """Send an object; waits while the reader is behind."""
        self._channel.put(self._made(item))
        await self._channel.room()

    def send_nowait(self, item: Any) -> None:
        """The same from code that cannot wait."""
        self._channel.put(self._made(item))
