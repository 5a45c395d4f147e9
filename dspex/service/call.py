"""One logical call: how it is wanted, where it stands, and what the services of an App share for it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from numbers import Integral
from typing import TYPE_CHECKING, Any

import msgspec

from dspex.core.clock import Clock
from dspex.core.errors import ConfigurationError, LMError
from dspex.core.usage import Usage
from dspex.runtime.bus import Bus
from dspex.runtime.scope import Scope
from dspex.service.alarm import Timer
from dspex.service.cache import CacheService
from dspex.service.ledger import BudgetScope, Charge
from dspex.service.prices import Prices
from dspex.service.retry import Retrying, RetryPolicy
from dspex.service.under_way import UnderWay

if TYPE_CHECKING:
    from dspex.plugin.contracts import Middleware

DEFAULT_TIMEOUT_S = 120.0
BATCH_TIMEOUT_S = 26 * 3600.0  # providers take a day at most
BATCH_WIDTH = 10_000  # how many runs go side by side where their calls wait for batches

Keep = Callable[[str, Sequence[str]], Awaitable[None]]  # takes a batch, and the ids of its calls


def attempts_of(num_retries: Any) -> int:
    """The first attempt and the retries. Raises ConfigurationError for what is no number."""
    if not isinstance(num_retries, Integral):
        raise ConfigurationError(f"num_retries={num_retries!r}: it is a number, zero is the least.")
    return int(num_retries) + 1


class Options(msgspec.Struct, frozen=True):
    """How a handle wants its calls carried out; `timeout` None is 120 s counted from the first permit, 26 h in a batch.

    `retry` is the user's own policy, in place of `attempts` by ours; `hedge_after` seconds, or a percentile of the usual
    time such as "p95", a second attempt is sent beside one that has not answered. Raises ConfigurationError.
    """

    timeout: float | None = None
    attempts: int = 4
    cache: bool = True
    retry: Retrying | None = None
    hedge_after: float | str | None = None
    dispatch: str = "live"

    def __post_init__(self) -> None:
        timeout: Any = self.timeout
        if timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0):
            raise ConfigurationError(f"timeout={timeout!r}: some seconds, or None for 120 s from the first permit.")
        if self.attempts < 1:
            raise ConfigurationError(f"num_retries={self.attempts - 1}: zero is the least.")
        if self.retry is not None and not hasattr(self.retry, "attempts_for"):
            raise ConfigurationError(f"retry={self.retry!r:.80}: a RetryPolicy, or an object with its methods.")
        if self.dispatch not in ("live", "batch"):
            raise ConfigurationError(f"dispatch={self.dispatch!r}: it is 'live', or 'batch' for later and for less.")
        if self.dispatch == "batch" and self.hedge_after is not None:
            raise ConfigurationError(
                "hedge_after= sends a second request where one is slow; in a batch all are. Use one."
            )

    @property
    def limit_s(self) -> float:
        """Seconds of the whole call."""
        return self.timeout or (DEFAULT_TIMEOUT_S if self.dispatch == "live" else BATCH_TIMEOUT_S)

    @property
    def policy(self) -> Retrying:
        """What decides about retries."""
        return self.retry or RetryPolicy(self.attempts)


class Shared(msgspec.Struct, frozen=True):
    """What the services of an App have in common."""

    clock: Clock
    bus: Bus
    cache: Callable[[], CacheService | None]
    middleware: Callable[[], "Sequence[Middleware]"]
    ceilings: Callable[[], tuple[BudgetScope, ...]]
    prices: Prices
    numbers: Iterator[int]
    under_way: UnderWay


class Ticket(msgspec.Struct, frozen=True):
    """What a call is in a batch: its id there, the batches that ids are known to be in, and who keeps that for later."""

    id: str
    known: Mapping[str, str]
    keep: Keep

    def part(self, place: int) -> "Ticket":
        """That of one of its completions."""
        return Ticket(f"{self.id}-{place}", self.known, self.keep)


class Call:
    """The state of one logical call; `deadline` is in the running loop's time, None before its clock has started."""

    # Not set at each call, as most calls leave them as they are.
    attempts = 0
    cached = False
    lost: Charge | None = None  # what an attempt took that lost a race, where there is one
    paid: Usage | None = None  # where it is not that of the reply
    ticket: Ticket | None = None
    deadline: float | None = None
    timer: Timer | asyncio.Timeout | None = None
    aborted: LMError | None = None  # what it ends with, by another's will

    def __init__(self, options: Options, scope: Scope, number: int, salt: tuple[int, int] = (1, 0)) -> None:
        self.options = options
        self.scope = scope
        self.number = number
        self.salt = salt

    @property
    def starts_at_once(self) -> bool:
        """Whether its time runs from its beginning, and not from its first permit."""
        return self.options.timeout is not None or self.scope.deadline is not None

    def start_clock(self) -> None:
        """Let the time of the whole call run from now on, if it does not yet. Raises DeadlineExceeded if none is left."""
        if self.deadline is None:
            limit, outer = self.options.limit_s, self.scope.deadline
            if outer is not None:
                outer.check()
                limit = min(limit, outer.left)
            self.deadline = asyncio.get_running_loop().time() + limit
            if self.timer is not None:
                self.timer.reschedule(self.deadline)

    def abort(self, error: LMError) -> None:
        """End with this error, as if the time were over; on the call's own loop."""
        self.aborted, self.deadline = error, asyncio.get_running_loop().time()
        if self.timer is not None:
            with suppress(RuntimeError):  # it is just ending by itself
                self.timer.reschedule(self.deadline)

    @property
    def time_left(self) -> float:
        """Seconds until the deadline."""
        return float("inf") if self.deadline is None else self.deadline - asyncio.get_running_loop().time()
