"""How many attempts an endpoint bears at once, found by trying: additive increase, multiplicative decrease."""

from dspex.core.errors import RateLimited

START = 8.0
REFUSED, SLOW = 0.5, 0.9  # what is left of the limit after a 429, and after replies have become slow
FEW = 0.1  # of a round's attempts
TOO_SLOW = 2.0  # times the usual seconds
SMOOTHING = 0.1
ODD = 4.0  # times the usual seconds, more is taken for that: one slow reply says little
FORGETTING = 1.002  # an attempt: the usual seconds drift up where a model has become slower for good


class Adaptive:
    """The limit at one endpoint: it doubles a round until the endpoint first objects, from then on it grows by one.

    Guarded by its owner's lock. A round is as long as an attempt takes; within one the limit shrinks once, when more than a
    few attempts were refused, since a 429 now and then has other causes, or when replies have become slow.
    """

    def __init__(self, most: int | None) -> None:
        self._most = float(most) if most else float("inf")
        self._limit = min(START, self._most)
        self._objected = False
        self._round_began = float("-inf")
        self._ended = self._refused = 0
        self._was_cut = False
        self._seconds = self._usual = 0.0

    @property
    def limit(self) -> int:
        """Attempts that may be in flight."""
        return int(self._limit)

    def ended(self, now: float, seconds: float, error: BaseException | None, used: int) -> None:
        """An attempt took so long and ended so, while `used` were in flight."""
        if now - self._round_began >= self._seconds:
            self._round_began, self._ended, self._refused, self._was_cut = now, 0, 0, False
        self._ended += 1
        if error is None:
            self._replied(seconds, used)
        elif isinstance(error, RateLimited) and error.retryable is not False:
            self._refused += 1
            if self._refused > max(1.0, FEW * self._ended):
                self._cut(REFUSED)

    def _replied(self, seconds: float, used: int) -> None:
        known = self._seconds or seconds
        self._seconds = known + SMOOTHING * (min(seconds, ODD * known) - known)
        self._usual = min((self._usual or seconds) * FORGETTING, self._seconds)
        if self._seconds > TOO_SLOW * self._usual:
            self._cut(SLOW)
        elif used >= self.limit:  # else the limit was not what held anybody up
            self._limit = min(self._most, self._limit + (1.0 / self._limit if self._objected else 1.0))

    def _cut(self, left: float) -> None:
        self._objected = True
        if not self._was_cut:
            self._was_cut = True
            self._limit = max(1.0, self._limit * left)
