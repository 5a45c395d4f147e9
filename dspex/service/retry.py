"""Which failures are tried again, when, and how often; tenacity carries it out, entered at the first failure."""

import random
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from dspex.core.clock import Clock
from dspex.core.errors import DspexError, LMTimeout, PluginError, ProtocolError, RateLimited, Unavailable

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

ONCE = (PluginError,)
TRANSIENT = (RateLimited, LMTimeout, Unavailable, ProtocolError)


def is_retryable_lm_error(error: BaseException) -> bool:
    """Whether the same request may succeed later: rate limits, time-outs, network and server faults."""
    told: bool | None = getattr(error, "retryable", None)
    return isinstance(error, TRANSIENT) if told is None else told


class Retrying(Protocol):
    """What a retry policy decides; pass an object of your own as `LM(..., retry=)`."""

    def attempts_for(self, error: BaseException) -> int:
        """How many attempts a call may have in all when the last one has failed like this."""

    def wait(self, error: BaseException, attempt: int, rng: random.Random) -> float:
        """Seconds to wait after attempt number `attempt`, counted from 1."""


class RetryPolicy(msgspec.Struct, frozen=True):
    """At most `attempts` attempts; before retry n a full-jitter wait of up to min(cap, base * 2**n) seconds."""

    attempts: int = 4
    base: float = 0.5
    cap: float = 8.0

    def attempts_for(self, error: BaseException) -> int:
        """How many attempts a call may have in all when it fails like this."""
        if isinstance(error, ONCE) or getattr(error, "code", None) == "retry_once":
            return min(2, self.attempts)
        return self.attempts if is_retryable_lm_error(error) else 1

    def wait(self, error: BaseException, attempt: int, rng: random.Random) -> float:
        """Seconds before the next attempt: never less than the server asked for, with jitter only above that."""
        jitter = rng.uniform(0.0, min(self.cap, self.base * 2**attempt))
        asked = getattr(error, "retry_after", None)
        return jitter if asked is None else asked + min(jitter, 1.0)


class RetryTokens:
    """A bucket an endpoint: a retry takes 1, a success gives 0.25, so that an outage is hardly amplified."""

    def __init__(self, start: float = 100.0, limit: float = 500.0, deposit: float = 0.25) -> None:
        self._tokens = start
        self._limit = limit
        self._deposit = deposit
        self._lock = threading.Lock()

    def succeeded(self) -> None:
        """Put a deposit in."""
        if self._tokens < self._limit:
            with self._lock:
                self._tokens += self._deposit

    def take(self) -> bool:
        """Take the token of one retry; False when there is none."""
        with self._lock:
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
            return True


class Retry:
    """What the retries at one endpoint share: the bucket, the clock and the jitter."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self.tokens = RetryTokens()
        self._clock = clock
        self._rng = rng

    async def go_on(
        self,
        first: DspexError,
        attempt: Callable[[], Awaitable[T]],
        *,
        policy: Retrying,
        time_left: Callable[[], float],
        on_failure: Callable[[BaseException, int, float | None], None],
    ) -> T:
        """Go on after the first attempt has failed with `first`; raises the last failure if all fail.

        A wait that would end after the deadline is not begun: the failure is raised at once.
        """
        import tenacity

        pending: DspexError | None = first

        async def replayed_first() -> T:
            nonlocal pending
            if pending is not None:
                error, pending = pending, None
                raise error
            return await attempt()

        def failure(state: "RetryCallState") -> BaseException:
            error = state.outcome.exception() if state.outcome else None
            return error or RuntimeError("no outcome")

        def is_over(state: "RetryCallState") -> bool:
            error = failure(state)
            over = (
                state.attempt_number >= policy.attempts_for(error)
                or state.upcoming_sleep > time_left()
                or not self.tokens.take()
            )
            on_failure(error, state.attempt_number, None if over else state.upcoming_sleep)
            return over

        retrying = tenacity.AsyncRetrying(
            stop=is_over,
            wait=lambda state: policy.wait(failure(state), state.attempt_number, self._rng),
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, DspexError)),
            sleep=self._clock.sleep,
            reraise=True,
        )
        return await retrying(replayed_first)
