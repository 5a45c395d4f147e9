"""One model as a service: middleware > recorder > tape > cache > single-flight > attempts."""

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import asdict

from dspex.core.clock import Clock
from dspex.core.endpoint import Capabilities, Endpoint
from dspex.core.errors import BadRequest, ConfigurationError, ContentFiltered, DspexError, ProtocolError
from dspex.core.identity import canonical
from dspex.core.messages import Image, LMRequest, LMResponse
from dspex.core.usage import NOTHING, Usage
from dspex.plugin.per_loop import PerLoop
from dspex.runtime.scope import Recorder
from dspex.runtime.stepping import HOP
from dspex.service.attempts import Attempts
from dspex.service.cache import CacheService
from dspex.service.call import Call, Options, Shared
from dspex.service.flight import SingleFlight
from dspex.service.ledger import BudgetScope, Charge, bound_of, estimated_usage, prompt_tokens
from dspex.service.life import Life
from dspex.service.middleware import Wrapped
from dspex.service.reported import Report, reported, track

if TYPE_CHECKING:
    from dspex.plugin.contracts import LMProvider, Middleware
    from dspex.service.batches import Batches

UNKNOWN = Capabilities()
BATCH_PRICE = 0.5  # of the usual one, where the provider does not say
LOCAL_PARAMS = frozenset({"rollout_id"})  # in the key, never on the wire


class LMService:
    """One model behind one endpoint, for all loops and threads of an App."""

    def __init__(
        self,
        endpoint: Endpoint,
        provider: "LMProvider",
        shared: Shared,
        attempts: Attempts,
        known: Capabilities | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._known = (
            {} if known is None else {name: value for name, value in asdict(known).items() if value is not None}
        )
        # What the provider said, and that as the user knows it.
        self._corrected: tuple[Capabilities | None, Capabilities] = None, UNKNOWN
        self.provider = provider
        self.attempts = attempts
        self.name = attempts.name
        self._shared = shared
        self._flights: SingleFlight[LMResponse] = SingleFlight()
        self._life = Life(provider, endpoint.provider)
        self._batches = self._no_batches()
        # A provider may know its address from elsewhere than the handle: two servers must not share replies.
        self.base_url: str | None = getattr(provider, "base_url", None) or endpoint.base_url
        self._key_prefix = canonical([endpoint.provider, self.base_url, endpoint.model, dict(endpoint.options)])

    # What a handle asks for

    @property
    def capabilities(self) -> Capabilities:
        """What the provider says it can do, where the user does not know better; each None where unknown."""
        found: Capabilities = getattr(self.provider, "capabilities", None) or UNKNOWN
        if not self._known:
            return found
        before, corrected = self._corrected
        if found is not before:
            corrected = msgspec.structs.replace(found, **self._known)
            self._corrected = found, corrected
        return corrected

    @property
    def clock(self) -> Clock:
        """What tells the time."""
        return self._shared.clock

    @property
    def is_ready(self) -> bool:
        """Whether the provider has started."""
        return self._life.started

    async def ready(self) -> None:
        """Start the provider, once."""
        await self._life.start()

    async def complete(self, request: LMRequest, options: Options) -> LMResponse:
        """A whole reply. Raises LMError classes, PluginError or BudgetExceeded."""
        call = self.attempts.begin(options)
        if self._shared.bus.active:
            work = partial(self._enter, call, request)
            reply = await reported(self._shared, self.endpoint, call, work, lambda reply: reply.usage)
        else:
            reply = await self._enter(call, request)
        paid = None if call.cached else call.paid or reply.usage
        if call.scope.trackers:
            track(call, self.name, paid)
        return reply if paid is reply.usage else msgspec.structs.replace(reply, usage=paid)

    def budgets(self, call: Call) -> tuple[BudgetScope, ...]:
        """All that bound this call."""
        return call.scope.budgets + self._shared.ceilings()

    def cache(self) -> CacheService | None:
        """Where replies are kept."""
        return self._shared.cache()

    def middleware(self) -> "Sequence[Middleware]":
        """What stands around each call, outermost first."""
        return self._shared.middleware()

    def report(self, call: Call) -> Report:
        """Tell subscribers that a call begins which does not come by `complete`."""
        return Report(self._shared, self.endpoint, call)

    async def forget(self, request: LMRequest) -> None:
        """Drop a cached reply that turned out to be of no use."""
        cache = self._shared.cache()
        if cache is not None:
            await HOP
            await cache.forget(self.key(request, (1, 0)))
            single = msgspec.structs.replace(request, n=1)
            for place in range(request.n if request.n > 1 else 0):
                await cache.forget(self.key(single, (request.n, place)))

    def forked(self) -> None:
        """In a forked child: what the parent's calls hold is not ours, and nobody here would give it back."""
        self._flights = SingleFlight()
        self._life.forked()
        self._batches = self._no_batches()
        self.attempts.forked()

    async def aclose(self) -> None:
        """Let the provider go."""
        await self._batches.aclose()
        await self._life.aclose()

    def _no_batches(self) -> "PerLoop[Batches]":
        # Late: few programs ask in batches.
        def begun() -> "Batches":
            from dspex.service.batches import Batches

            return Batches(self)

        return PerLoop(begun, lambda batches: batches.aclose())

    # The onion, outside in

    # Each step is a plain function that gives the next one's coroutine: one that has nothing to do costs next to nothing.

    def _enter(self, call: Call, request: LMRequest) -> Awaitable[LMResponse]:
        middleware, scope = self._shared.middleware(), call.scope
        if middleware:
            return self._through(middleware, call, request)
        is_live = scope.recorder is None and scope.tape is None
        return self.live(call, request) if is_live else self._recorded(call, request)

    async def _through(self, middleware: "Sequence[Middleware]", call: Call, request: LMRequest) -> LMResponse:
        chain: Callable[[LMRequest], Awaitable[LMResponse]] = _Bound(self._innermost, call)
        for one in reversed(middleware):
            chain = Wrapped(one, chain, LMResponse)
        await HOP
        return await chain(request)

    async def _innermost(self, call: Call, request: LMRequest) -> LMResponse:
        # A coroutine, which middleware may make a task of, and which fails where it is awaited.
        return await self._recorded(call, request)

    def _recorded(self, call: Call, request: LMRequest) -> Awaitable[LMResponse]:
        recorder = call.scope.recorder
        return self._answer(call, request) if recorder is None else self._kept(recorder, call, request)

    async def _kept(self, recorder: Recorder, call: Call, request: LMRequest) -> LMResponse:
        await HOP
        return await recorder.record(request, _Bound(self._priced, call))

    async def _priced(self, call: Call, request: LMRequest) -> LMResponse:
        """An answer with its price where that is known: what is recorded is charged by it in each replay."""
        reply = await self._answer(call, request)
        usage = reply.usage or NOTHING
        usd = self._usd(usage) if usage.usd is None else 0.0
        return msgspec.structs.replace(reply, usage=msgspec.structs.replace(usage, usd=usd)) if usd else reply

    def _answer(self, call: Call, request: LMRequest) -> Awaitable[LMResponse]:
        return self.live(call, request) if call.scope.tape is None else self._taped(call, request)

    async def _taped(self, call: Call, request: LMRequest) -> LMResponse:
        from dspex.service.taped import taped_reply

        await HOP
        return await taped_reply(self, call, request)

    def live(self, call: Call, request: LMRequest) -> Awaitable[LMResponse]:
        """A reply from the cache or the provider."""
        if request.n > 1 and not self.capabilities.n:
            return self._fan_out(call, request)
        return self._cached(call, request) if call.options.cache else self._timed(call, request)

    async def _fan_out(self, call: Call, request: LMRequest) -> LMResponse:
        # A wire without n: that many requests side by side, each with a key of its own.
        await HOP
        single = msgspec.structs.replace(request, n=1)
        calls = [Call(call.options, call.scope, call.number, (request.n, place)) for place in range(request.n)]
        for place, one in enumerate(calls):
            one.ticket = call.ticket and call.ticket.part(place)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._settled(self._answer(one, single))) for one in calls]
        replies = [task.result() for task in tasks]
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        call.attempts = sum(one.attempts for one in calls)
        whole = [reply for reply in replies if isinstance(reply, LMResponse)]
        call.cached = all(one.cached for one in calls)
        call.paid = _sum(reply for one, reply in zip(calls, whole, strict=True) if not one.cached)
        choices = tuple(choice for reply in whole for choice in reply.choices)
        return LMResponse(choices, _sum(whole), whole[0].model)

    @staticmethod
    async def _settled(work: Awaitable[LMResponse]) -> LMResponse | DspexError:
        # As a value: a group would wrap the error of one in an ExceptionGroup.
        try:
            return await work
        except DspexError as error:
            return error

    async def _cached(self, call: Call, request: LMRequest) -> LMResponse:
        key = self.key(request, call.salt)
        cache = self._shared.cache()
        if cache is not None:
            hit = cache.peek(key)
            if hit is None:
                await HOP
                hit = await cache.get(key)
            if hit is not None:
                call.cached = True
                return hit
        await HOP

        async def lead() -> LMResponse:
            reply = await self._timed(call, request)
            if cache is not None:
                await cache.keep(key, reply)
            return reply

        async def join() -> LMResponse:
            reply, call.cached = await self._flights.join(key, lead)
            return reply

        if call.starts_at_once:
            return await self.attempts.in_time(call, join)
        reply, call.cached = await self._flights.join(key, lead)
        return reply

    def _timed(self, call: Call, request: LMRequest) -> Awaitable[LMResponse]:
        send = partial(self.provider.complete, on_wire(request))
        if call.options.dispatch == "batch":
            send = partial(self._in_batch, call, on_wire(request))
        bound, checked = partial(self.bound, request), partial(self._checked, request)
        attempt: Callable[[], Coroutine[Any, Any, LMResponse]]
        attempt = partial(self.attempts.once, call, bound, send, self._spent, checked)
        if self._life.started:
            self.check(request)
        else:
            attempt = partial(self._after_start, request, attempt)
        if call.options.hedge_after is not None:
            attempt = partial(self._hedged, call, request, attempt)
        if call.timer is not None:
            return self.attempts.run(call, attempt)
        return self.attempts.in_time(call, attempt, again=True)

    async def _in_batch(self, call: Call, request: LMRequest) -> LMResponse:
        """An answer that comes later, at the price that batches have."""
        if not hasattr(self.provider, "batch_start"):
            raise ConfigurationError(
                f"{self.name} cannot be asked in batches: its provider has none. Leave dispatch= out."
            )
        reply = await self._batches.get().ask(call, request)
        usage = reply.usage
        if usage is None or usage.usd is not None or not (usd := self._usd(usage)):
            return reply
        share: float = getattr(self.provider, "batch_price", BATCH_PRICE)
        return msgspec.structs.replace(reply, usage=msgspec.structs.replace(usage, usd=usd * share))

    async def _hedged(
        self, call: Call, request: LMRequest, attempt: Callable[[], Coroutine[Any, Any, LMResponse]]
    ) -> LMResponse:
        """Two attempts may race; what the loser was sent for is counted, by a guess at its prompt."""
        lost: list[Usage] = []
        prompt = Usage(prompt_tokens(request), calls=1, estimated=True)
        call.lost = self.charge(prompt)
        after = call.options.hedge_after
        assert after is not None
        reply = await self.attempts.hedge.race(after, attempt, lambda: lost.append(prompt))
        if lost:
            usage = reply.usage or Usage()
            call.paid = sum(lost, msgspec.structs.replace(usage, calls=max(1, usage.calls)))
        return reply

    async def _after_start(
        self, request: LMRequest, attempt: Callable[[], Coroutine[Any, Any, LMResponse]]
    ) -> LMResponse:
        await self._life.start()
        self.check(request)
        return await attempt()

    def check(self, request: LMRequest) -> None:
        """Raises BadRequest for pictures, if the model says that it takes none."""
        if self.capabilities.images is False and any(
            isinstance(part, Image) for m in request.messages for part in m.parts
        ):
            raise BadRequest("It takes no pictures (capability: images); use another model.", model=self.name)

    def bound(self, request: LMRequest, needs_price: bool) -> Charge:
        """The most that one attempt may take. Raises ConfigurationError for a price that is needed and unknown."""
        limit = self.capabilities.max_output_tokens
        return bound_of(request, self.name, limit, self._shared.prices, needs_price)

    def charge(self, usage: Usage) -> Charge:
        """What an attempt really took."""
        return Charge(1, usage.total_tokens, self._usd(usage) if usage.usd is None else usage.usd)

    def _spent(self, reply: LMResponse) -> Charge:
        return self.charge(reply.usage or Usage())

    def _checked(self, request: LMRequest, given: Any) -> LMResponse:
        if not isinstance(given, LMResponse):
            kind = type(given).__name__
            raise ProtocolError(f"The provider gave a {kind}, not an LMResponse.", model=self.name, retryable=False)
        reply: LMResponse = given
        if not reply.choices:
            raise ProtocolError("The reply has no choices.", model=self.name, code="retry_once")
        if reply.choices[0].finish_reason == "content_filter":
            raise ContentFiltered("The provider's content policy cut the reply.", model=self.name)
        if len(reply.choices) > request.n:
            reply = msgspec.structs.replace(reply, choices=reply.choices[: request.n])
        usage = reply.usage
        if usage is None:
            usage = estimated_usage(request, "".join(choice.text for choice in reply.choices))
        if usage.usd is None and (usd := self._shared.prices.of(self.name, usage, needed=False)):
            usage = msgspec.structs.replace(usage, usd=usd)
        return reply if usage is reply.usage else msgspec.structs.replace(reply, usage=usage)

    def _usd(self, usage: Usage) -> float:
        return self._shared.prices.of(self.name, usage, needed=False)

    # Small parts

    def key(self, request: LMRequest, salt: tuple[int, int] = (1, 0), prefix: bytes | None = None) -> bytes:
        """What tells a request from every other; `prefix` stands for the endpoint. Raises BadRequest."""
        params = {name: _normal(value) for name, value in request.params.items()} if request.params else None
        try:
            body = _key_encoder.encode((request.messages, params, request.tools, request.schema, request.n, salt))
        except UnicodeEncodeError as error:
            raise BadRequest(f"A text that is no Unicode cannot be sent: {error}") from error
        return hashlib.blake2b((prefix or self._key_prefix) + body, digest_size=16).digest()


class _Bound:
    """A step of the onion with its call; cheaper and more readable in a traceback than a partial."""

    __slots__ = ("_step", "call")

    def __init__(self, step: Callable[[Call, LMRequest], Awaitable[LMResponse]], call: Call) -> None:
        self._step = step
        self.call = call

    def __call__(self, request: LMRequest) -> Awaitable[LMResponse]:
        return self._step(self.call, request)


def _enc_hook(value: Any) -> Any:
    raise BadRequest(f"A parameter of type {type(value).__name__} cannot be sent: {value!r:.100}")


def _normal(value: Any) -> Any:
    # One number has one key; NaN and infinity, which would be encoded as None, have none.
    if type(value) is not float:
        return value
    if not math.isfinite(value):
        raise BadRequest(f"{value} cannot be sent as a parameter.")
    return int(value) if value.is_integer() else value


_key_encoder = msgspec.json.Encoder(order="deterministic", enc_hook=_enc_hook)


def on_wire(request: LMRequest) -> LMRequest:
    """The request without the params that are ours alone."""
    if LOCAL_PARAMS.isdisjoint(request.params):
        return request
    params = {name: value for name, value in request.params.items() if name not in LOCAL_PARAMS}
    return msgspec.structs.replace(request, params=params)


def _sum(replies: Iterable[LMResponse]) -> Usage:
    usages = [reply.usage or Usage() for reply in replies]
    return msgspec.structs.replace(sum(usages, Usage()), calls=len(usages))
