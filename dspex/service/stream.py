"""A streamed call: the same permit, budget and retry as a plain one, held for as long as the stream runs."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import TypeVar

from dspex.core.errors import LMError, ProtocolError
from dspex.core.messages import LMDelta, LMRequest
from dspex.core.usage import Usage
from dspex.runtime.bridge import HOP
from dspex.runtime.scope import SCOPE
from dspex.service.attempts import Entry
from dspex.service.call import Call, Options
from dspex.service.ledger import estimated_usage
from dspex.service.lm import LMService, on_wire
from dspex.service.reported import track

T = TypeVar("T")

MAX_TEXT = 4 << 20  # characters of one stream


async def stream(service: LMService, request: LMRequest, options: Options) -> AsyncGenerator[LMDelta, None]:
    """The pieces of one reply; tried again only while nothing has been delivered, never read from the cache.

    Raises what `LMService.complete` raises, ProtocolError with `.partial` where the stream ends before its last piece.
    """
    await HOP
    native = getattr(service.provider, "stream", None)
    if native is None or service.capabilities.stream is False or SCOPE.get().recorder is not None:
        # A recorder keeps whole replies, so in a compile a stream is one piece.
        reply = await service.complete(request, options)
        choice = reply.choices[0]
        yield LMDelta(choice.text, choice.tool_calls, choice.finish_reason or "stop", reply.usage, choice.reasoning)
        return
    running = _Stream(service, request, options)
    report = service.report(running.call)
    failure: BaseException | None = None
    try:
        service.attempts.under_way.begin(running.call)
        delta: LMDelta | None = await service.attempts.run(running.call, running.open)
        while delta is not None:
            yield delta
            delta = await running.next()
    except BaseException as error:
        failure = error
        raise
    finally:
        await running.close(failure)
        service.attempts.under_way.end(running.call)
        if failure is None or running.text:
            track(running.call, service.name, running.spent)
        report.end(running.usage, None if isinstance(failure, GeneratorExit) else failure)


class _Stream:
    def __init__(self, service: LMService, request: LMRequest, options: Options) -> None:
        self.service = service
        self.request = request
        self.call: Call = service.attempts.begin(options)
        self.text: list[str] = []
        self.size = 0
        self.usage: Usage | None = None
        self.finished = False
        self._pieces: AsyncIterator[LMDelta] | None = None
        self._entry: Entry | None = None

    async def open(self) -> LMDelta | None:
        """One attempt, up to its first piece."""
        await self.service.ready()
        self.service.check(self.request)
        if self.call.options.timeout is not None:
            self.call.start_clock()
        self._entry = await self._timed(
            self.service.attempts.enter(self.call, lambda needs_price: self.service.bound(self.request, needs_price))
        )
        self._pieces = self.service.provider.stream(on_wire(self.request))  # type: ignore[attr-defined]  # optional member
        self.call.attempts += 1
        try:
            return await self.next()
        except BaseException as error:
            await self.close(error)
            raise

    async def next(self) -> LMDelta | None:
        """The next piece, None at the end."""
        assert self._pieces is not None
        try:
            delta: LMDelta | None = await self._timed(anext(self._pieces, None))
        except (Exception, SystemExit) as error:
            ours = self.service.attempts.ours(error, self.call)
            if isinstance(ours, LMError):
                ours.partial = "".join(self.text) or ours.partial
            if ours is error:
                raise
            raise ours from error
        if delta is None:
            if not self.finished:
                raise self._fault("The stream ended before its last piece.")
            return None
        self.text.append(delta.text)
        self.size += len(delta.text)
        if self.size > MAX_TEXT:
            raise self._fault(f"The stream goes on beyond {MAX_TEXT} characters; it was closed.", retryable=False)
        self.usage = delta.usage or self.usage
        self.finished = self.finished or delta.finish_reason is not None
        return delta

    def _fault(self, message: str, retryable: bool | None = None) -> LMError:
        error = ProtocolError(message, retryable=retryable, partial="".join(self.text))
        return self.service.attempts.named(error, self.call)

    async def close(self, error: BaseException | None = None) -> None:
        """Close the provider's stream, settle and give the permit back."""
        pieces, self._pieces = self._pieces, None
        entry, self._entry = self._entry, None
        try:
            if pieces is not None and hasattr(pieces, "aclose"):
                await pieces.aclose()
        finally:
            if entry is not None:
                entry.leave(self.service.charge(self.spent), error)

    @property
    def spent(self) -> Usage:
        """What the provider says, or a guess from what has come so far."""
        return self.usage or estimated_usage(self.request, "".join(self.text))

    async def _timed(self, work: Awaitable[T]) -> T:
        # Around each piece and not around the whole: the time that the reader takes between two pieces is its own task's.
        timer = asyncio.timeout(None)
        self.call.timer = timer
        try:
            async with timer:
                timer.reschedule(self.call.deadline)
                return await work
        except TimeoutError as error:
            if not timer.expired():
                raise
            late = self.service.attempts.late(self.call)
            late.partial = "".join(self.text)
            raise late from error
