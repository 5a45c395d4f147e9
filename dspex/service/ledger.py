"""Budgets that hold: an attempt reserves its upper bound, waits while others are open, and settles what it took."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Protocol, TypeVar

import msgspec

from dspex.core.clock import Clock
from dspex.core.errors import BudgetExceeded
from dspex.core.messages import Audio, File, LMRequest, Part, Text, Thought, ToolCall, ToolResult
from dspex.core.usage import Budget, Usage
from dspex.runtime.standing import LoopCounts
from dspex.service.prices import Prices

T = TypeVar("T")

DEFAULT_OUTPUT_TOKENS = 4_096
SMALLEST_USD = 1e-6
# A guess at what providers count: a picture looked at closely; sound, a second of which is 32 tokens and 8 KB where it is well packed;
# a document of scanned pages.
PICTURE_TOKENS, CHARACTERS_OF_SOUND, CHARACTERS_OF_FILE = 2_000, 300, 40


class Holder(Protocol):
    """An attempt with reservations in `budgets`, empty once it has settled them."""

    @property
    def budgets(self) -> tuple["BudgetScope", ...]: ...


# The attempts within which this code runs: a provider, an index or a function of the user's may make calls of its own.
_AROUND: ContextVar[tuple[Holder, ...]] = ContextVar("dspex_attempts_around", default=())


class Charge(msgspec.Struct, frozen=True, gc=False):
    """Calls, tokens and dollars of one attempt: a bound before it, the truth after it."""

    calls: int = 0
    tokens: int = 0
    usd: float = 0.0

    def __add__(self, other: "Charge") -> "Charge":
        return Charge(self.calls + other.calls, self.tokens + other.tokens, self.usd + other.usd)

    def __sub__(self, other: "Charge") -> "Charge":
        return Charge(self.calls - other.calls, self.tokens - other.tokens, self.usd - other.usd)


NOTHING = Charge()


class BudgetScope:
    """A live budget: `limits`, `spent` and what is `left`; shared by all loops and threads under it."""

    def __init__(self, limits: Budget, clock: Clock) -> None:
        self.limits = limits
        self._clock = clock
        self._began = clock.monotonic()
        self._spent = NOTHING
        self._reserved = NOTHING
        self._open = 0
        self._held_up: Counter[Holder] = Counter()  # attempts that wait for a call of their own which waits here
        self._loops = LoopCounts()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._lock = threading.Lock()

    @property
    def spent(self) -> Budget:
        """What is settled, by unit."""
        seconds = self._clock.monotonic() - self._began
        return Budget(self._spent.calls, self._spent.tokens, self._spent.usd, seconds)

    @property
    def left(self) -> Budget:
        """Limits less what is spent and reserved; None where there is no limit."""
        taken = self._spent + self._reserved
        limits = self.limits
        return Budget(
            None if limits.calls is None else max(0, limits.calls - taken.calls),
            None if limits.tokens is None else max(0, limits.tokens - taken.tokens),
            None if limits.usd is None else max(0.0, limits.usd - taken.usd),
            None if limits.seconds is None else max(0.0, limits.seconds - (self._clock.monotonic() - self._began)),
        )

    def forked(self) -> None:
        """In a forked child: calls in flight are the parent's to pay."""
        self._lock = threading.Lock()
        self._reserved, self._open, self._waiters, self._loops = NOTHING, 0, [], LoopCounts()
        self._held_up = Counter()

    async def reserve(self, bound: Charge) -> None:
        """Set `bound` aside. Raises BudgetExceeded if it cannot fit even when all open reservations are settled.

        Those of the attempts that this call is made within are none to wait for: they end only after it.
        """
        while True:
            with self._lock:
                short = self._short(self._spent + self._reserved + bound)
                if short is None:
                    self._reserved += bound
                    self._open += 1
                    self._loops.change(+1)
                    return
                around = [attempt for attempt in _AROUND.get() if self in attempt.budgets]
                held_up = {attempt for attempt in (*self._held_up, *around) if self in attempt.budgets}
                if self._open <= (len(held_up) if around else 0) or short == "seconds" or self._loops.stands:
                    raise self._exceeded(short, bound)
                loop = asyncio.get_running_loop()
                future: asyncio.Future[None] = loop.create_future()
                self._waiters.append((loop, future))
                self._held_up.update(around)
            try:
                await future
            finally:
                with self._lock:
                    self._held_up -= Counter(around)

    def settle(self, bound: Charge, actual: Charge, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Replace a reservation, made on this loop or on `loop`, by what was really taken, and let others look again."""
        with self._lock:
            self._reserved -= bound
            self._spent += actual
            self._open -= 1
            self._loops.change(-1, loop)
            waiters, self._waiters = self._waiters, []
        for waiting, future in waiters:
            try:
                waiting.call_soon_threadsafe(_wake, future)
            except RuntimeError:
                continue  # That loop is closed and its waiter gone with it.

    def _short(self, total: Charge) -> str | None:
        limits = self.limits
        if limits.calls is not None and total.calls > limits.calls:
            return "calls"
        if limits.tokens is not None and total.tokens > limits.tokens:
            return "tokens"
        if limits.usd is not None and total.usd > limits.usd + 1e-9:
            return "usd"
        if limits.seconds is not None and self._clock.monotonic() - self._began >= limits.seconds:
            return "seconds"
        return None

    def _exceeded(self, unit: str, bound: Charge) -> BudgetExceeded:
        limit, spent = getattr(self.limits, unit), getattr(self.spent, unit)
        need = "" if unit == "seconds" else f", and the next attempt may take {getattr(bound, unit):g}"
        return BudgetExceeded(
            f"The budget of {limit:g} {unit} does not allow another attempt: {spent:g} are spent{need}. "
            "It was not sent. Raise the budget to go on.",
            unit=unit,
            limit=limit,
            spent=spent,
        )


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


async def within(attempt: Holder, work: Callable[[], Awaitable[T]]) -> T:
    """The result of `work`, whose own calls do not wait for what the attempt has reserved."""
    token = _AROUND.set((*_AROUND.get(), attempt))
    try:
        return await work()
    finally:
        _AROUND.reset(token)


async def reserve_all(scopes: Sequence[BudgetScope], bound: Charge) -> None:
    """Reserve in each scope, or in none."""
    done: list[BudgetScope] = []
    try:
        for scope in scopes:
            await scope.reserve(bound)
            done.append(scope)
    except BaseException:
        for scope in done:
            scope.settle(bound, NOTHING)
        raise


async def lease_all(scopes: Sequence[BudgetScope], most: Charge) -> Charge:
    """Reserve `most` in all scopes, or as much of it as each of them has; what it is.

    Raises BudgetExceeded where one has not even a call, or nothing of another unit, and none is open that may give it back.
    """
    for scope in scopes:
        left = scope.left
        calls, tokens, usd = left.calls, left.tokens, left.usd
        # Of what is all taken the least is asked for: it may come back, and else `reserve` says that it is short.
        most = Charge(
            most.calls if calls is None else max(1, min(most.calls, calls)),
            most.tokens if tokens is None else max(1, min(most.tokens, tokens)),
            most.usd if usd is None else max(SMALLEST_USD, min(most.usd, usd)),
        )
    await reserve_all(scopes, most)
    return most


def bound_of(request: LMRequest, model: str, max_output: int | None, prices: Prices, needs_price: bool) -> Charge:
    """Upper bound of one attempt. Without max_tokens the model's known output limit counts, else 4,096 a choice.

    Raises ConfigurationError if a price is needed and unknown.
    """
    prompt = prompt_tokens(request)
    limit = request.params.get("max_tokens") or request.params.get("max_completion_tokens") or max_output
    output = int(limit or DEFAULT_OUTPUT_TOKENS) * request.n
    return Charge(1, prompt + output, prices.of(model, Usage(prompt, output), needs_price))


def prompt_tokens(request: LMRequest) -> int:
    """A high guess of a prompt's tokens: three bytes of text each, and 8 for each message; tools and schema are text too."""
    told = sum(8 + sum(map(_part_tokens, message.parts)) for message in request.messages)
    beside = [*request.tools, *(() if request.schema is None else (request.schema,))]
    return told + (len(str(beside)) // 3 if beside else 0)


def _part_tokens(part: Part) -> int:
    match part:
        case Text(text=text) | ToolResult(text=text) | ToolCall(arguments=text) | Thought(data=text):
            return len(text.encode(errors="surrogatepass")) // 3
        case Audio(data=data):
            return len(data) // CHARACTERS_OF_SOUND
        case File(data=data):
            return PICTURE_TOKENS + len(data or "") // CHARACTERS_OF_FILE
    return PICTURE_TOKENS


def estimated_usage(request: LMRequest, text: str) -> Usage:
    """Usage where the provider gives none, marked as estimated."""
    return Usage(prompt_tokens(request), 1 + len(text) // 4, estimated=True)
