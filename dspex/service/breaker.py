"""A circuit breaker: an endpoint that fails again and again is left alone for a moment, and calls to it fail at once."""

import random
import threading
from collections import deque
from collections.abc import Callable

import msgspec

from dspex.core.clock import Clock
from dspex.core.errors import CircuitOpen, ConfigurationError, LMTimeout, ProtocolError, Unavailable

SLICES = 10  # of the time looked at: an outage shows in the last one or two, whatever came before
JITTER = (0.8, 1.1)
SHOWN = 200


class BreakerPolicy(msgspec.Struct, frozen=True):
    """Opens when `share` of at least `least` attempts failed over the last `within` seconds, or a part of them.

    Then one attempt is let through after each of the `waits` (seconds, the last one for ever) until one succeeds.
    Raises ConfigurationError for a value that makes no sense.
    """

    share: float = 0.5
    least: int = 20
    within: float = 10.0
    waits: tuple[float, ...] = (1.0, 2.0, 4.0)

    def __post_init__(self) -> None:
        if not (0 < self.share <= 1 and self.least >= 1 and self.within > 0 and self.waits and min(self.waits) > 0):
            raise ConfigurationError(f"{self}: a share lies in (0, 1], all others are above zero.")


def counts(error: BaseException) -> bool:
    """Whether an attempt's failure speaks against the endpoint: the network, a 5xx, silence, a broken reply.

    A reply that came whole and lacks what the request asked for (code "retry_once") does not.
    """
    return isinstance(error, (Unavailable, LMTimeout, ProtocolError)) and getattr(error, "code", None) != "retry_once"


class Breaker:
    """The breaker of one endpoint, for all loops and threads; policy None: it never opens.

    `is_calm` says that nothing has failed of late, so that a success needs no note. `in_flight` is kept by who sends: what
    fails comes back sooner than what succeeds, so failures beside many attempts that are still out say little.
    """

    def __init__(
        self,
        policy: BreakerPolicy | None,
        clock: Clock,
        rng: random.Random,
        on_change: Callable[[bool, float], None],
    ) -> None:
        self.policy = policy
        self.is_open = False
        self.is_calm = True
        self.in_flight = 0
        self._good_at = 0.0
        self._clock = clock
        self._rng = rng
        self._on_change = on_change
        self._opened = 0  # how often it has opened, so that late news of before is known as such
        self._waits = 0
        self._until: float | None = None
        self._reason = ""
        self._slices: deque[list[int]] = deque(maxlen=SLICES + 1)
        self._lock = threading.Lock()

    def enter(self, *, as_probe: bool = True) -> int | None:
        """Let an attempt through; gives the number by which its outcome is told, None for an ordinary one.

        Raises CircuitOpen. With `as_probe` False nothing is taken: it only says whether there is any use in waiting.
        """
        with self._lock:
            until, now = self._until, self._clock.monotonic()
            if until is None:
                return None
            if now < until:
                raise self._refusal(until - now)
            if as_probe:
                self._until = now + self._next_wait()
            return self._opened

    def succeeded(self, probe: int | None = None) -> None:
        """The endpoint has answered."""
        with self._lock:
            if self.is_open:
                if probe != self._opened:
                    return
                self.is_open, self.is_calm, self._until, self._waits = False, True, None, 0
                self._slices.clear()
            else:
                self._note(0)
                self._good_at = self._clock.monotonic()
                self.is_calm = not any(failed for _, _, failed in self._slices)
                return
        self._on_change(False, 0.0)

    def failed(self, error: BaseException, probe: int | None = None) -> None:
        """An attempt has failed by a fault of the endpoint."""
        policy = self.policy
        if policy is None:
            return
        with self._lock:
            if self.is_open:
                return
            if self.is_calm:
                self.is_calm, self._good_at = False, self._clock.monotonic()
            self._note(1)
            found = self._too_many(policy)
            if found is None:
                return
            self._reason = f"{found[1]} of {found[0]} attempts failed of late, the last with {type(error).__name__}: "
            self._reason += str(getattr(error, "message", error))[:SHOWN]
            self.is_open = True
            self._opened += 1
            wait = self._next_wait()
            self._until = self._clock.monotonic() + wait
        self._on_change(True, wait)

    def gave_up(self, probe: int) -> None:
        """A probe ended without news of the endpoint: the next call may be one."""
        with self._lock:
            if self.is_open and probe == self._opened:
                self._until = self._clock.monotonic()

    def forked(self) -> None:
        """In a forked child: a lock that nobody holds, and nothing in flight."""
        self._lock = threading.Lock()
        self.in_flight = 0

    def _next_wait(self) -> float:
        assert self.policy is not None
        wait = self.policy.waits[min(self._waits, len(self.policy.waits) - 1)]
        self._waits += 1
        return wait * self._rng.uniform(*JITTER)

    def _note(self, failed: int) -> None:
        assert self.policy is not None
        number = int(self._clock.monotonic() * SLICES / self.policy.within)
        if not self._slices or self._slices[-1][0] != number:
            self._slices.append([number, 0, 0])
            while self._slices[0][0] <= number - SLICES:
                self._slices.popleft()
        self._slices[-1][1 + failed] += 1

    def _too_many(self, policy: BreakerPolicy) -> tuple[int, int] | None:
        whole = failures = 0
        for _, good, failed in reversed(self._slices):
            whole, failures = whole + good + failed, failures + failed
            if whole >= policy.least and failures >= policy.share * whole:
                is_silent = self._clock.monotonic() - self._good_at >= policy.within
                return (whole, failures) if is_silent or failures >= policy.share * self.in_flight else None
        return None

    def _refusal(self, seconds: float) -> CircuitOpen:
        return CircuitOpen(
            f"Nothing was sent: {self._reason} It is tried again in {seconds:.1f} s; until then calls fail at once.",
            code="circuit_open",
            retry_after=seconds,
        )
