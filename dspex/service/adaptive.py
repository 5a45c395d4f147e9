"""How many attempts an endpoint bears at once, found by trying: additive increase, multiplicative decrease."""

from dspex.core.errors import RateLimited

START = 8.0
REFUSED, SLOW = 0.5, 0.9  # what is left of the limit after a 429, and after replies have become slow
TOO_SLOW = 2.0  # times the usual seconds
SMOOTHING = 0.1
FORGETTING = 1.002  # an attempt: the usual seconds drift up where a model has become slower for good


class Adaptive:
    """The limit at one endpoint: it doubles a round until the endpoint first objects, from then on it grows by one.

    Guarded by its owner's lock. A round is as long as an attempt takes; within one the limit shrinks once.
    """

    def __init__(self, most: int | None) -> None:
        self._most = float(most) if most else float("inf")
        self._limit = min(START, self._most)
        self._objected = False
        self._cut_at = float("-inf")
        self._seconds: float | None = None
        self._usual = 0.0

    @property
    def limit(self) -> int:
        """Attempts that may be in flight."""
        return int(self._limit)

    def ended(self, now: float, seconds: float, error: BaseException | None, used: int) -> None:
        """An attempt took so long and ended so, while `used` were in flight."""
        if isinstance(error, RateLimited) and error.retryable is not False:
            self._cut(now, REFUSED)
        elif error is None:
            self._replied(now, seconds, used)

    def _replied(self, now: float, seconds: float, used: int) -> None:
        if self._seconds is None:
            self._seconds = self._usual = seconds
        self._seconds += SMOOTHING * (seconds - self._seconds)
        self._usual = min(self._usual * FORGETTING, self._seconds)
        if self._seconds > TOO_SLOW * self._usual:
            self._cut(now, SLOW)
        elif used >= self.limit:  # else the limit was not what held anybody up
            self._limit = min(self._most, self._limit + (1.0 / self._limit if self._objected else 1.0))

    def _cut(self, now: float, left: float) -> None:
        self._objected = True
        if now - self._cut_at >= (self._seconds or 0.0):
            self._cut_at = now
            self._limit = max(1.0, self._limit * left)
