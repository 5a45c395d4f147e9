"""One call of a streamed program: it runs beside its reader, who may leave."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextvars import copy_context
from typing import Any, NamedTuple

from dspex.app.app import current_app
from dspex.program.streaming.channel import Channel, SendStream
from dspex.program.streaming.events import Finished, Sent, StreamEvent
from dspex.program.streaming.every_field import EveryField
from dspex.program.streaming.status import StatusCallback, ToolEvents
from dspex.program.streaming.sync_iterator import flat
from dspex.runtime.scope import SCOPE, use

Call = Callable[[], Awaitable[Any]]


class Ears(NamedTuple):
    """What hears a program: the scope's `listener`, callbacks, and what takes objects of its own."""

    listener: Any
    callbacks: tuple[Any, ...]
    sender: SendStream


class Run:
    """A call in the context in which it was made. `last` gives what follows the result: (it, whether nothing came before).

    The program begins with the first batch that is asked for, on the loop of who asks.
    """

    def __init__(self, call: Call, ears: Callable[[Channel], Ears], last: Callable[[Any, bool], Iterable[Any]]) -> None:
        self._call = call
        self._ears = ears
        self._last = last
        self._context = copy_context()
        self._channel: Channel | None = None
        self._task: asyncio.Task[None] | None = None
        self._result: Any = None
        self._error: BaseException | None = None
        self._is_empty = True
        self._is_over = False

    async def batch(self) -> list[Any]:
        """What came since the last batch; nothing at the end. Raises what the program raised, behind what came before it."""
        if self._is_over:
            return []
        channel = self._channel or self._begin()
        return self._given(await channel.batch(), channel)

    def waited(self) -> list[Any]:
        """`batch` of a run that has begun, from a thread that is not its loop's: asking the loop each time would cost more."""
        channel = self._channel
        return [] if self._is_over or channel is None else self._given(channel.waited(), channel)

    def _given(self, items: list[Any], channel: Channel) -> list[Any]:
        if items:
            self._is_empty = False
            return items
        self._is_over = True
        channel.leave()  # what code that outlives the program sends goes nowhere
        error, self._error = self._error, None
        if error is not None:
            raise error
        return list(self._last(self._result, self._is_empty))

    def _begin(self) -> Channel:
        channel = self._channel = Channel()
        self._task = asyncio.get_running_loop().create_task(self._run(channel), context=self._context)
        self._task.add_done_callback(self._ended)
        return channel

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() and self._error is None:  # before its first step
            self._error = asyncio.CancelledError()
        if self._channel is not None:
            self._channel.end()

    async def _run(self, channel: Channel) -> None:
        # Its end is told from within: what the loop calls for a task that has ended comes a turn later, and a loop that stands has none.
        try:
            self._result = await self._made(channel)
        except BaseException as error:
            self._error = error
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            channel.end()

    async def _made(self, channel: Channel) -> Any:
        scope, ears = SCOPE.get(), self._ears(channel)
        callbacks = [*current_app().settings.callbacks, *ears.callbacks]
        overlay = {**scope.overlay, "callbacks": callbacks, "send_stream": ears.sender}
        with use(overlay=overlay, listener=ears.listener):
            return await self._call()

    async def aclose(self) -> None:
        """Nobody reads any more: what still runs is cancelled, and has ended when this returns."""
        self._is_over = True
        channel, task = self._channel, self._task
        if channel is None or task is None:
            return
        channel.leave()
        if not task.done():
            task.cancel()
            await asyncio.wait([task])

    async def items(self) -> AsyncGenerator[Any, None]:
        """The items one by one; leaving the generator closes the run."""
        try:
            while batch := await self.batch():
                for item in batch:
                    yield item
        finally:
            await self.aclose()

    def sync_items(self) -> Generator[Any, None, None]:
        """The same as a plain generator."""
        return flat(self.batch, self.aclose, self.waited)


def events_of(program: Any, call: Call) -> Run:
    """A run of `program` that gives StreamEvents."""

    def ears(channel: Channel) -> Ears:
        provider = current_app().settings.status_message_provider
        told = () if provider is None else (StatusCallback(provider, channel),)
        return Ears(EveryField(program, channel), (ToolEvents(channel), *told), SendStream(channel, _event))

    return Run(call, ears, lambda result, _: (Finished(result),))


def _event(item: Any) -> StreamEvent:
    return item if isinstance(item, StreamEvent) else Sent(item)
