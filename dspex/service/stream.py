"""A streamed call: the same permit, budget and retry as a plain one, held for as long as the stream runs."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

import msgspec

from dspex.core.errors import DspexError, LMError, ProtocolError
from dspex.core.guests import PASSING
from dspex.core.messages import LMDelta, LMRequest
from dspex.core.usage import Usage
from dspex.runtime.scope import SCOPE
from dspex.runtime.stepping import HOP
from dspex.service.alarm import Timer
from dspex.service.attempts import Entry
from dspex.service.call import Call, Options
from dspex.service.ledger import estimated_usage, within
from dspex.service.lm import LMService, on_wire
from dspex.service.middleware import fault_of, name_of
from dspex.service.patience import rest_of
from dspex.service.pieces import MANY, drawn_together, whole
from dspex.service.reported import track

T = TypeVar("T")

MAX_TEXT = 4 << 20  # characters of one stream, of what the model thought and of calls too
LOOK = 16  # pieces that need not be waited for, to one look at the clock

Chain = Callable[[LMRequest], AsyncGenerator[LMDelta, None]]


def stream(service: LMService, request: LMRequest, options: Options) -> AsyncGenerator[LMDelta, None]:
    """The pieces of one reply; tried again only while nothing has been delivered. A cached reply is one piece.

    Raises what `LMService.complete` raises, ProtocolError with `.partial` where the stream ends before its last piece.
    """
    scope = SCOPE.get()
    steps = [getattr(middleware, "stream", None) for middleware in service.middleware()]
    native = (
        hasattr(service.provider, "stream") and service.capabilities.stream is not False and options.dispatch == "live"
    )
    if not native or None in steps or scope.recorder is not None:
        # A recorder keeps whole replies, so in a compile a stream is one piece; as it is for middleware that knows no streams.
        return _in_one(service, request, options)
    chain: Chain = partial(_begun, service, options)
    if scope.tape is not None:
        from dspex.service.taped import taped_pieces

        chain = partial(taped_pieces, service, options, partial(_pieces, service))
    for step in reversed(steps):
        chain = partial(_guest, step, chain)
    return chain(request)


async def _in_one(service: LMService, request: LMRequest, options: Options) -> AsyncGenerator[LMDelta, None]:
    await HOP
    yield LMDelta.last_of(await service.complete(request, options))


async def _guest(step: Any, chain: Chain, request: LMRequest) -> AsyncGenerator[LMDelta, None]:
    """A middleware around a stream."""
    inner: list[AsyncGenerator[LMDelta, None]] = []

    def call_next(request: LMRequest) -> AsyncGenerator[LMDelta, None]:
        inner.append(chain(request))
        return inner[-1]

    try:
        async with aclosing(step(request, call_next)) as pieces:
            async for piece in pieces:
                yield piece
    except (DspexError, *PASSING):
        raise
    except BaseException as error:  # the middleware is a plugin, and may raise what ends programs
        raise fault_of(name_of(step), error) from error
    finally:
        for opened in reversed(inner):  # a plain `async for` in the middleware leaves it open
            await opened.aclose()


def _begun(service: LMService, options: Options, request: LMRequest) -> AsyncGenerator[LMDelta, None]:
    return _pieces(service, service.attempts.begin(options), request)


async def _pieces(service: LMService, call: Call, request: LMRequest) -> AsyncGenerator[LMDelta, None]:
    await HOP
    running = _Stream(service, request, call)
    report = service.report(call)
    failure: BaseException | None = None
    timer: Timer | None = None
    cache = service.cache() if call.options.cache else None
    key = b"" if cache is None else service.key(request)
    try:
        hit = None if cache is None else cache.peek(key) or await cache.get(key)
        if hit is not None:
            call.cached, running.usage = True, hit.usage
            yield LMDelta.last_of(msgspec.structs.replace(hit, usage=None))
            return
        timer = service.attempts.under_way.begin(running.call)
        delta: LMDelta | None = await service.attempts.run(call, running.open)
        while delta is not None:
            yield delta
            delta = await running.next()
        if cache is not None:
            await cache.keep(key, whole(running.came))
    except BaseException as error:
        failure = error
        raise
    finally:
        await running.close(failure)
        if timer is not None:
            timer.stop()
        if failure is None or running.came:
            track(call, service.name, running.spent)
        report.end(running.usage, None if isinstance(failure, GeneratorExit) else failure)


class _Stream:
    def __init__(self, service: LMService, request: LMRequest, call: Call) -> None:
        self.service = service
        self.request = request
        self.call = call
        self.came: list[LMDelta] = []
        self._kept = 0
        self.size = 0
        self._called = self._foretold = 0
        self.usage: Usage | None = None
        self.finished = False
        self._pieces: AsyncIterator[LMDelta] | None = None
        self._entry: Entry | None = None

    async def open(self) -> LMDelta | None:
        """One attempt, up to its first piece."""
        if self.call.starts_at_once:
            self.call.start_clock()
        await self.service.ready()
        self.service.check(self.request)
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
        assert self._entry is not None
        pieces = self._pieces
        try:
            coming = within(self._entry, partial(self._piece, pieces)) if self._entry.budgets else self._piece(pieces)
            delta = await coming
        except PASSING:
            raise
        except BaseException as error:
            ours = self.service.attempts.ours(error, self.call)
            if isinstance(ours, LMError):
                ours.partial = self.text or ours.partial
            if ours is error:
                raise
            raise ours from error
        if delta is None:
            if not self.finished:
                raise self._fault("The stream ended before its last piece.")
            return None
        self.came.append(delta)
        if len(self.came) - self._kept >= MANY:
            self._kept = drawn_together(self.came, self._kept)
        self.size += len(delta.text)
        if delta.reasoning or delta.tool_calls or delta.tool_call_pieces:
            self.size += len(delta.reasoning or "") + self._grown(delta)
        if self.size > MAX_TEXT:
            raise self._fault(f"The stream goes on beyond {MAX_TEXT} characters; it was closed.", retryable=False)
        if delta.usage is not None:
            self.usage = delta.usage
        if delta.finish_reason is not None:
            self.finished = True
        return delta

    def _grown(self, delta: LMDelta) -> int:
        """Characters of calls that no piece has said before."""
        before = max(self._called, self._foretold)
        self._called += sum(len(call.arguments) for call in delta.tool_calls)
        self._foretold += sum(len(piece.arguments) for piece in delta.tool_call_pieces)
        return max(self._called, self._foretold) - before + sum(len(thought.data) for thought in delta.thoughts)

    def _fault(self, message: str, retryable: bool | None = None) -> LMError:
        error = ProtocolError(message, retryable=retryable, partial=self.text)
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
    def text(self) -> str:
        """All that has come so far."""
        return "".join(delta.text for delta in self.came)

    @property
    def spent(self) -> Usage:
        """What the provider says, or a guess from what has come so far."""
        return self.usage or estimated_usage(self.request, self.text)

    async def _piece(self, pieces: AsyncIterator[LMDelta]) -> LMDelta | None:
        """What comes next, None at the end; a timer is set only where it has to be waited for."""
        steps = pieces.__anext__().__await__()  # not by anext(): its default costs an object a piece
        try:
            waits_for = next(steps)
        except StopIteration as done:
            # Pieces that are there at once cost less than a look at the clock, so that is taken now and then.
            if len(self.came) % LOOK == 0 and self.call.time_left < 0:
                raise self._late() from None
            piece: LMDelta | None = done.value
            return piece
        except StopAsyncIteration:
            return None
        try:
            return await self._timed(rest_of(steps, waits_for))
        except StopAsyncIteration:
            return None

    def _late(self) -> DspexError:
        late = self.service.attempts.late(self.call)
        if isinstance(late, LMError):
            late.partial = self.text
        return late

    async def _timed(self, work: Awaitable[T]) -> T:
        # Around each piece and not around the whole: the time that the reader takes between two pieces is its own task's.
        timer = asyncio.timeout(None)
        self.call.timer = timer
        try:
            async with timer:
                timer.reschedule(self.call.deadline)
                return await work
        except TimeoutError:
            if not timer.expired():
                raise
        raise self._late()  # as in Attempts.in_time
