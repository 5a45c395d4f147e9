"""Which failures are tried again, when, and how often; tenacity carries it out, entered at the first failure."""

import random
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from dspex.core.clock import Clock
from dspex.core.errors import DspexError, LMError, LMTimeout, PluginError, ProtocolError, RateLimited, Unavailable

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

ONCE = (PluginError,)
TRANSIENT = (RateLimited, LMTimeout, Unavailable, ProtocolError)


def is_retryable_lm_error(error: BaseException) -> bool:
    """Whether the same request may succeed later: rate limits, time-outs, network and server faults."""
    if isinstance(error, LMError) and error.retryable is not None:
        return error.retryable
    return isinstance(error, TRANSIENT)


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
                self._tokens = min(self._limit, self._tokens + self._deposit)

    def take(self) -> bool:
        """Take the token of one retry; False when there is none."""
        with self._lock:
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
            return True


class Retry:
    """What the attempts of one endpoint share: the policy, the bucket, the clock and the jitter."""

    def __init__(self, policy: RetryPolicy, clock: Clock, rng: random.Random) -> None:
        self.policy = policy
        self.tokens = RetryTokens()
        self._clock = clock
        self._rng = rng

    async def go_on(
        self,
        first: DspexError,
        attempt: Callable[[], Awaitable[T]],
        *,
        attempts: int,
        time_left: Callable[[], float],
        on_failure: Callable[[BaseException, int, float | None], None],
    ) -> T:
        """Go on after the first attempt has failed with `first`; raises the last failure if all fail.

        A wait that would end after the deadline is not begun: the failure is raised at once.
        """
        import tenacity

        policy = msgspec.structs.replace(self.policy, attempts=attempts)
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
