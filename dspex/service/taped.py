"""Calls through a tape: recorded on it where it lacks them, else played from it, and charged what they cost then."""

import base64
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Protocol

import msgspec

from dspex.core.endpoint import Capabilities, Endpoint
from dspex.core.errors import DspexError, LMError, RetrieverError
from dspex.core.identity import canonical
from dspex.core.messages import LMDelta, LMRequest, LMResponse
from dspex.core.usage import Usage
from dspex.runtime.scope import SCOPE, use
from dspex.runtime.stepping import HOP
from dspex.service.attempts import Attempts
from dspex.service.call import Call, Options
from dspex.service.hidden import secrets_of, shown
from dspex.service.ledger import BudgetScope, Charge, reserve_all
from dspex.service.pieces import MANY, drawn_together, whole
from dspex.service.reported import Report, track
from dspex.service.tape import Asked, Source, Take, Tape, raised

Live = Callable[[Call, LMRequest], AsyncGenerator[LMDelta, None]]


class ModelService(Protocol):
    """What of an LM's service is needed here."""

    endpoint: Endpoint
    attempts: Attempts
    name: str

    @property
    def capabilities(self) -> Capabilities: ...
    def key(self, request: LMRequest, salt: tuple[int, int] = (1, 0), prefix: bytes | None = None) -> bytes: ...
    def live(self, call: Call, request: LMRequest) -> Awaitable[LMResponse]: ...
    def budgets(self, call: Call) -> tuple[BudgetScope, ...]: ...
    def bound(self, request: LMRequest, needs_price: bool) -> Charge: ...
    def charge(self, usage: Usage) -> Charge: ...
    def report(self, call: Call) -> Report: ...


def endpoint_key(endpoint: Endpoint, *more: object) -> bytes:
    """What tells an endpoint from others, by what the user says of it: where a tape is played there is no provider to ask."""
    return canonical([endpoint.provider, endpoint.base_url, endpoint.model, dict(endpoint.options), *more])


def asked_of(service: ModelService, request: LMRequest) -> Asked:
    """A request, as it is looked for on a tape."""
    endpoint = service.endpoint
    key = service.key(request, prefix=endpoint_key(endpoint)).hex()
    source = Source("lm", service.name, tuple(endpoint.options), service.capabilities)
    return Asked("lm", key, shown(request), source, secrets_of(endpoint))


async def taped_reply(service: ModelService, call: Call, request: LMRequest) -> LMResponse:
    """A reply; BudgetExceeded and the recorded error are raised as they were."""
    tape: Tape = call.scope.tape
    asked = asked_of(service, request)
    take = tape.next(asked)
    if take is not None:
        await _charged(service, call, request, take)
        if take.fault is not None:
            raise raised(take, service.name)
        return msgspec.convert(take.value, LMResponse)
    try:
        reply = await service.live(call, request)
    except LMError as error:
        tape.keep(asked, error=error, attempts=call.attempts)
        raise
    paid = None if call.cached else call.paid or reply.usage
    tape.keep(asked, reply, cached=call.cached, attempts=call.attempts, paid=paid)
    return reply


async def _charged(service: ModelService, call: Call, request: LMRequest, take: Take) -> None:
    call.cached, call.attempts, call.paid = take.cached, take.attempts, take.paid
    budgets = service.budgets(call)
    if budgets and not take.cached:
        needs_price = any(scope.limits.usd is not None for scope in budgets)
        charge = msgspec.structs.replace(service.charge(take.paid or Usage()), calls=take.attempts)
        await spend(budgets, service.bound(request, needs_price), charge)


async def spend(budgets: Sequence[BudgetScope], bound: Charge, charge: Charge) -> None:
    """Charge what a recorded call cost. Raises BudgetExceeded as the call itself would."""
    await reserve_all(budgets, bound)
    for scope in budgets:
        scope.settle(bound, charge)


# Embedders and retrievers


async def taped_bytes(
    asked: Asked, name: str, proceed: Any, budgets: Sequence[BudgetScope], charge: Callable[[Usage, int], Charge]
) -> bytes:
    """The bytes of a call that is no LM's; `charge(paid, attempts)` is what it took. `proceed` is a recorder's."""
    scope = SCOPE.get()
    tape: Tape = scope.tape
    take = tape.next(asked)
    if take is not None:
        return await _played_bytes(take, name, budgets, charge)
    total = _Total()
    try:
        with use(trackers=(*scope.trackers, total)):
            data: bytes = (await proceed())[0]
    except (LMError, RetrieverError) as error:
        tape.keep(asked, error=error, attempts=proceed.call.attempts)
        raise
    call = proceed.call
    tape.keep(asked, data, cached=call.cached, attempts=call.attempts, paid=total.usage)
    return data


async def _played_bytes(
    take: Take, name: str, budgets: Sequence[BudgetScope], charge: Callable[[Usage, int], Charge]
) -> bytes:
    usage = take.paid or Usage()
    if not take.cached:
        took = charge(usage, take.attempts)
        await spend(budgets, took, took)
        for tracker in SCOPE.get().trackers if usage.calls else ():
            tracker.add(name, usage)
    if take.fault is not None:
        raise raised(take, name)
    return base64.b64decode(take.value)


def asked_bytes(kind: str, endpoint: Endpoint, request: bytes, told: Any) -> Asked:
    """A call that is no LM's, as it is looked for on a tape; `told` is its request for people."""
    key = hashlib.blake2b(endpoint_key(endpoint) + request, digest_size=16).hexdigest()
    source = Source(kind, f"{endpoint.provider}/{endpoint.model}", tuple(endpoint.options))
    return Asked(kind, key, shown(told), source, secrets_of(endpoint))


class _Total:
    """A usage tracker that only adds up."""

    def __init__(self) -> None:
        self.usage = Usage()

    def add(self, model: str, usage: Usage) -> None:
        """Count a call."""
        self.usage += usage + Usage(calls=max(0, 1 - usage.calls))


# Streams


async def taped_pieces(
    service: ModelService, options: Options, live: Live, request: LMRequest
) -> AsyncGenerator[LMDelta, None]:
    """The pieces of a reply from the tape; of one that it lacks those of `live`, which are kept."""
    await HOP
    call = service.attempts.begin(options)
    asked = asked_of(service, request)
    take = call.scope.tape.next(asked)
    source = _recorded(call, asked, live(call, request)) if take is None else _played(service, call, request, take)
    async with aclosing(source) as pieces:
        async for piece in pieces:
            yield piece


async def _recorded(call: Call, asked: Asked, live: AsyncGenerator[LMDelta, None]) -> AsyncGenerator[LMDelta, None]:
    came: list[LMDelta] = []
    kept, cuts = 0, []
    failure: LMError | None = LMError("The stream was not read to its end when it was recorded.")
    try:
        async with aclosing(live) as pieces:
            async for piece in pieces:
                came.append(piece)
                cuts.append(len(piece.text))
                if len(came) - kept >= MANY:
                    kept = drawn_together(came, kept)
                yield piece
        failure = None
    except LMError as error:
        failure = error
        raise
    finally:
        reply = whole(came)
        paid = None if call.cached else reply.usage
        if failure is not None:
            failure.partial = failure.partial or reply.text
        call.scope.tape.keep(
            asked,
            reply if failure is None else None,
            error=failure,
            cuts=cuts,
            cached=call.cached,
            attempts=call.attempts,
            paid=paid,
        )


async def _played(service: ModelService, call: Call, request: LMRequest, take: Take) -> AsyncGenerator[LMDelta, None]:
    report, error = service.report(call), None
    try:
        await _charged(service, call, request, take)
        for piece in _cut(take):
            yield piece
        if take.fault is not None:
            raise raised(take, service.name)
        track(call, service.name, take.paid)
    except DspexError as raised_here:
        error = raised_here
        raise
    finally:
        report.end(take.paid, error)


def _cut(take: Take) -> Iterator[LMDelta]:
    """The pieces as they came; one piece of a reply that came whole."""
    reply = None if take.fault is not None else msgspec.convert(take.value, LMResponse)
    text = reply.text if reply is not None else (take.fault and take.fault.partial) or ""
    start = 0
    for cut in take.cuts:
        if cut:
            yield LMDelta(text[start : start + cut])
        start += cut
    if reply is not None:
        yield LMDelta.last_of(reply, text[start:])
