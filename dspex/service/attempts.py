"""How calls go out to one endpoint, of whatever kind: deadline > retry { breaker > limits > budgets > attempt }."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from dspex.core.clock import derived_rng
from dspex.core.endpoint import Capabilities, Endpoint
from dspex.core.errors import BudgetExceeded, CircuitOpen, DspexError, LMError, LMTimeout, PluginError
from dspex.core.events import AttemptFailed, BreakerChanged, BudgetRefused
from dspex.core.wire import HttpLimits
from dspex.runtime.scope import SCOPE
from dspex.runtime.stepping import HOP
from dspex.service.alarm import Timer
from dspex.service.breaker import Breaker, BreakerPolicy, counts
from dspex.service.call import Call, Options, Shared
from dspex.service.crowd import SMALL
from dspex.service.hedge import Hedge
from dspex.service.ledger import NOTHING, BudgetScope, Charge, reserve_all, within
from dspex.service.limits import Limiter, Pace, Permit
from dspex.service.retry import Retry, RetryTokens

if TYPE_CHECKING:
    from dspex.runtime.supervisor import Row

T = TypeVar("T")

ONE_CALL = Charge(1)


class Terms(msgspec.Struct, frozen=True):
    """How an endpoint is treated: limits, breaker (None: none), the bounds of one exchange with it, and what its model is known to do."""

    pace: Pace = Pace()
    breaker: BreakerPolicy | None = BreakerPolicy()
    http: HttpLimits = HttpLimits()
    known: Capabilities | None = None


class Attempts:
    """Retry, breaker, limits and budgets of one endpoint, for all loops and threads of an App.

    A service gives `run` a coroutine function that makes one attempt, and makes it with `once`.
    """

    def __init__(self, endpoint: Endpoint, shared: Shared, terms: Terms, seed: object) -> None:
        place = (endpoint.provider, endpoint.model)
        self.name = "/".join(place)
        self.breaker = Breaker(terms.breaker, shared.clock, derived_rng(seed, "breaker", *place), self._changed)
        self.limits = Limiter(terms.pace, shared.clock)
        self.under_way = shared.under_way
        self.terms = terms
        self._endpoint = endpoint
        self._shared = shared
        self._retry = Retry(shared.clock, derived_rng(seed, "retry", *place))
        self.hedge = Hedge(shared.clock, lambda: not self.breaker.is_open and self._retry.tokens.take())
        self._free = Entry(self)
        self.error = ""  # the last failure of an attempt

    def row(self) -> "Row":
        """Its service in `App.tree()`."""
        from dspex.runtime.supervisor import Row

        trouble = f"circuit open, {self.error}" if self.breaker.is_open else self.error
        return Row(self.name, "running", 0, trouble)

    def begin(self, options: Options) -> Call:
        """The state of a new logical call in the current scope."""
        return Call(options, SCOPE.get(), next(self._shared.numbers))

    def forked(self) -> None:
        """In a forked child: what the parent's calls hold is not ours, and nobody here would give it back."""
        self._retry.tokens = RetryTokens()
        self.breaker.forked()
        self.limits.forked()

    async def in_time(self, call: Call, work: Callable[[], Awaitable[T]], *, again: bool = False) -> T:
        """`work` within the call's deadline; without an explicit one its clock starts later, at the first permit.

        `again`: it is an attempt, and made once more as `run` would.
        """
        await HOP
        timer = call.timer = self.under_way.begin(call)
        try:
            if call.starts_at_once:
                call.start_clock()
            try:
                result = await work()
            except DspexError as error:
                if not again or isinstance(error, BudgetExceeded):
                    raise
                result = await self._go_on(call, work, error)
            if again:
                self._retry.tokens.succeeded()
            return result
        except asyncio.CancelledError:
            if not timer.stop():
                raise
        finally:
            timer.stop()
        raise self.late(call)  # outside the block: what was cancelled has the request's headers in its frames

    async def run(self, call: Call, attempt: Callable[[], Awaitable[T]]) -> T:
        """Attempt after attempt, as the policy says, within a time that runs already.

        The retry object is made when the first one has failed.
        """
        try:
            result = await attempt()
        except BudgetExceeded:
            raise
        except DspexError as error:
            result = await self._go_on(call, attempt, error)
        self._retry.tokens.succeeded()
        return result

    async def _go_on(self, call: Call, attempt: Callable[[], Awaitable[T]], first: DspexError) -> T:
        impatient_at: float | None = None
        while True:
            try:
                return await self._retried(call, attempt, first)
            except CircuitOpen as error:
                now, wait = self._shared.clock.monotonic(), error.retry_after or 0.0
                impatient_at = impatient_at or now + call.options.limit_s
                if not call.scope.patient or now + wait > impatient_at:
                    raise
                await self._shared.clock.sleep(wait)
            try:
                return await attempt()
            except BudgetExceeded:
                raise
            except DspexError as error:
                first = error

    async def _retried(self, call: Call, attempt: Callable[[], Awaitable[T]], first: DspexError) -> T:
        if isinstance(first, CircuitOpen):
            raise first
        try:
            return await self._retry.go_on(
                first,
                attempt,
                policy=call.options.policy,
                time_left=lambda: call.time_left,
                on_failure=lambda error, number, wait: self._failed(call, error, number, wait),
            )
        except (LMError, PluginError) as error:
            error.attempts = call.attempts
            raise

    async def once(
        self,
        call: Call,
        bound: Callable[[bool], Charge],
        send: Callable[[], Awaitable[Any]],
        spent: Callable[[T], Charge],
        checked: Callable[[Any], T] | None = None,
    ) -> T:
        """One attempt: `bound(needs_price)` is the most it may take, `spent` what its reply took.

        `checked` makes a reply of what came, or raises what is wrong with it.

        Raises LMError classes, PluginError for what else `send` raises, or BudgetExceeded.
        """
        budgets = call.scope.budgets + self._shared.ceilings()
        if budgets or self.breaker.is_open or not self.limits.is_unlimited:
            entry = await self.enter(call, bound)
        else:
            entry = self._free
            call.start_clock()
            self.breaker.in_flight += 1
        call.attempts += 1
        task = asyncio.current_task()
        try:
            if self.breaker.in_flight > SMALL and isinstance(call.timer, Timer):
                await call.timer.alarm.crowd.turn()
            came = await (within(entry, send) if entry.budgets else send())
            reply: T = came if checked is None else checked(came)
            if entry is self._free:
                self.breaker.in_flight -= 1
                if not self.breaker.is_calm:
                    self.breaker.succeeded()
                return reply
            actual = spent(reply) if entry.is_counted else NOTHING
        except BaseException as error:
            ours = error if _is_dropped(error, task) else self.ours(error, call)
            if isinstance(ours, DspexError):
                self.error = f"{type(ours).__name__}: {ours}"
            is_cancelled = isinstance(error, asyncio.CancelledError)
            is_late = is_cancelled and call.timer is not None and call.timer.expired()
            actual = call.lost if is_cancelled and call.lost is not None else entry.sent
            entry.leave(actual, self.late(call) if is_late else ours)
            if ours is error:
                raise
            raise ours from error
        entry.leave(actual)
        return reply

    async def enter(self, call: Call, bound: Callable[[bool], Charge]) -> "Entry":
        """Pass breaker, limits and budgets; whoever enters leaves again. Raises CircuitOpen, RateLimited, BudgetExceeded."""
        breaker, limits = self.breaker, self.limits
        entry = Entry(self, call.scope.budgets + self._shared.ceilings())
        try:
            if breaker.is_open:
                breaker.enter(as_probe=False)
            if entry.budgets or limits.counts_tokens:
                entry.bound = bound(any(scope.limits.usd is not None for scope in entry.budgets))
            if not limits.is_unlimited and call.options.dispatch == "live":
                again = call.attempts > 0
                entry.permit = await limits.acquire(call.scope.request, entry.bound.tokens, call.deadline, again=again)
            if breaker.is_open:
                entry.probe = breaker.enter()
            call.start_clock()
            if entry.budgets:
                await reserve_all(entry.budgets, entry.bound)
            breaker.in_flight += 1
        except BaseException as error:
            entry.withdraw()
            if isinstance(error, LMError):
                self.named(error, call)
            if isinstance(error, BudgetExceeded):
                self._refused(call, error)
            raise
        return entry

    # Errors

    def named(self, error: LMError, call: Call) -> LMError:
        """The error with the model, the provider and the attempts so far."""
        error.model = error.model or self.name
        error.provider = error.provider or self._endpoint.provider
        error.attempts = call.attempts
        error.message = self._without_key(error.message)
        error.args = (error.message,)
        return error

    def ours(self, error: BaseException, call: Call) -> BaseException:
        """What a provider raised, with our names on it; beyond its contract as one of our own classes."""
        if isinstance(error, LMError):
            return self.named(error, call)
        if isinstance(error, (DspexError, asyncio.CancelledError, KeyboardInterrupt)):
            return error
        if isinstance(error, TimeoutError):
            return self.named(LMTimeout("The provider timed out."), call)
        provider = self._endpoint.provider
        error.args = tuple(self._without_key(part) if isinstance(part, str) else part for part in error.args)
        return PluginError(
            f"The provider {provider!r} raised {type(error).__name__}: {self._without_key(str(error))}. "
            "A provider may raise LMError classes only; this is a fault of the plugin.",
            plugin=provider,
            attempts=call.attempts,
        )

    def late(self, call: Call) -> DspexError:
        """The error of a call whose time is over, or that was ended before."""
        if call.aborted is not None:
            return self.named(call.aborted, call)
        outer = call.scope.deadline
        if outer is not None and outer.is_over:
            return outer.exceeded()
        seconds = call.options.limit_s
        late = LMTimeout(f"No reply within {seconds:g} s; raise it by timeout=.", code="deadline")
        return self.named(late, call)

    def _without_key(self, text: str) -> str:
        key = self._endpoint.api_key
        return text if key is None else key.redact(text)

    def _changed(self, is_open: bool, wait: float) -> None:
        bus = self._shared.bus
        if bus.active:
            provider, model = self._endpoint.provider, self._endpoint.model
            bus.publish(BreakerChanged(self._shared.clock.now(), 0, provider, model, is_open, wait))

    def _refused(self, call: Call, error: BudgetExceeded) -> None:
        bus = self._shared.bus
        if bus.active:
            now, endpoint = self._shared.clock.now(), self._endpoint
            facts = (error.unit, error.limit, error.spent, call.scope.path)
            bus.publish(BudgetRefused(now, call.number, endpoint.provider, endpoint.model, *facts))

    def _failed(self, call: Call, error: BaseException, number: int, wait: float | None) -> None:
        bus = self._shared.bus
        if bus.active:
            now, kind, path = self._shared.clock.now(), type(error).__name__, call.scope.path
            provider, model = self._endpoint.provider, self._endpoint.model
            bus.publish(AttemptFailed(now, call.number, provider, model, number, kind, wait, path))


class Entry:
    """One attempt on its way: the permit and the reservations that it holds until it leaves."""

    __slots__ = ("_attempts", "bound", "budgets", "loop", "permit", "probe")

    def __init__(self, attempts: Attempts, budgets: tuple[BudgetScope, ...] = ()) -> None:
        self._attempts = attempts
        self.budgets = budgets
        self.bound = NOTHING
        self.loop = asyncio.get_running_loop() if budgets else None
        self.permit: Permit | None = None
        self.probe: int | None = None

    @property
    def sent(self) -> Charge:
        """What an attempt took that failed: its call, unless it is of a kind that costs none."""
        return ONE_CALL if self.bound.calls else NOTHING

    @property
    def is_counted(self) -> bool:
        """Whether anybody wants to know what the attempt took."""
        return self.bound is not NOTHING

    def leave(self, actual: Charge, error: BaseException | None = None) -> None:
        """Settle what was really taken, give everything back, and tell the breaker how it ended."""
        budgets, self.budgets = self.budgets, ()
        for scope in budgets:
            scope.settle(self.bound, actual, self.loop)
        if self.permit is not None:
            self._attempts.limits.release(self.permit, actual.tokens, error)
        breaker = self._attempts.breaker
        breaker.in_flight -= 1
        if error is None:
            if self.probe is not None or not breaker.is_calm:
                breaker.succeeded(self.probe)
        elif counts(error):
            breaker.failed(error)
        elif self.probe is not None:
            (breaker.succeeded if isinstance(error, LMError) else breaker.gave_up)(self.probe)

    def withdraw(self) -> None:
        """Give everything back, as nothing was sent; reservations are not made yet."""
        if self.permit is not None:
            self._attempts.limits.withdraw(self.permit)
        if self.probe is not None:
            self._attempts.breaker.gave_up(self.probe)


def _is_dropped(error: BaseException, task: "asyncio.Task[Any] | None") -> bool:
    """Whether nobody goes on with the attempt: its coroutine is closed, as its loop is gone. A provider may raise the same."""
    if not isinstance(error, GeneratorExit):
        return False
    try:
        return asyncio.current_task() is not task
    except RuntimeError:
        return True
