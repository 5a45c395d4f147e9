"""A streamed call: the same permit, budget and retry as a plain one, held for as long as the stream runs."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TypeVar

from dspex.core.errors import DspexError, LMTimeout, ProtocolError
from dspex.core.messages import LMDelta, LMRequest
from dspex.core.usage import Usage
from dspex.runtime.bridge import HOP
from dspex.runtime.scope import SCOPE
from dspex.service.ledger import BudgetScope, Charge, estimated_usage
from dspex.service.lm import DEFAULT_TIMEOUT_S, Call, LMService, Options, on_wire

T = TypeVar("T")


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
    try:
        delta: LMDelta | None = await service.attempts(running.call, running.open)
        while delta is not None:
            yield delta
            delta = await running.next()
    finally:
        await running.close()


class _Stream:
    def __init__(self, service: LMService, request: LMRequest, options: Options) -> None:
        self.service = service
        self.request = request
        self.call: Call = service.begin(options)
        self.timeout = options.timeout or DEFAULT_TIMEOUT_S
        self.deadline: float | None = None
        self.text: list[str] = []
        self.usage: Usage | None = None
        self.finished = False
        self._pieces: AsyncIterator[LMDelta] | None = None
        self._release: list[Callable[[], None]] = []

    async def open(self) -> LMDelta | None:
        """One attempt, up to its first piece."""
        await self.close()
        loop = asyncio.get_running_loop()
        if self.deadline is None and self.call.options.timeout is not None:
            self.deadline = loop.time() + self.timeout
        budgets = await self._timed(self.service.admitted(self.call))
        if self.service.limit is not None:
            self._release.append(self.service.limit.release)
        self.deadline = self.deadline or loop.time() + self.timeout
        if budgets:
            bound = await self._timed(self.service.reserved(self.request, budgets))
            self._release.extend(partial(self._settle, scope, bound) for scope in budgets)
        self.call.attempts += 1
        self._pieces = self.service.provider.stream(on_wire(self.request))  # type: ignore[attr-defined]  # optional member
        try:
            return await self.next()
        except BaseException:
            await self.close()
            raise

    async def next(self) -> LMDelta | None:
        """The next piece, None at the end."""
        assert self._pieces is not None
        try:
            delta: LMDelta | None = await self._timed(anext(self._pieces, None))
        except DspexError as error:
            if self.text and hasattr(error, "partial"):
                error.partial = "".join(self.text)
            raise
        except (Exception, SystemExit) as error:
            raise self.service.foreign(error, self.call) from error
        if delta is None:
            if not self.finished:
                raise ProtocolError(
                    "The stream ended before its last piece.", model=self.service.name, partial="".join(self.text)
                )
            return None
        self.text.append(delta.text)
        self.usage = delta.usage or self.usage
        self.finished = self.finished or delta.finish_reason is not None
        return delta

    async def close(self) -> None:
        """Close the provider's stream, settle and give the permit back."""
        pieces, self._pieces = self._pieces, None
        release, self._release = self._release, []
        try:
            if pieces is not None and hasattr(pieces, "aclose"):
                await pieces.aclose()
        finally:
            for give_back in reversed(release):
                give_back()

    def _settle(self, scope: BudgetScope, bound: Charge) -> None:
        usage = self.usage or estimated_usage(self.request, "".join(self.text))
        scope.settle(bound, self.service.charge(usage))

    async def _timed(self, work: Awaitable[T]) -> T:
        # Around each piece and not around the whole: the time that the reader takes between two pieces is its own task's.
        if self.deadline is None:
            return await work
        timer = asyncio.timeout_at(self.deadline)
        try:
            async with timer:
                return await work
        except TimeoutError as error:
            if not timer.expired():
                raise
            late = LMTimeout(
                f"The stream took longer than {self.timeout:g} s.", partial="".join(self.text), code="deadline"
            )
            raise self.service.named(late, self.call) from error
