"""A comparison that one may look at whenever one likes: what is shown at any look is shown.

Two gamblers start with 1 and bet on each gain, one that `new` is better, one that it is worse. If neither is, no strategy
multiplies its money by more than k with a chance above 1/k, whenever one stops; so money is evidence. The bets are spread
over ten sizes, small ones for small gains. Method: Waudby-Smith & Ramdas 2023 (arXiv 2010.09686); the bound is Ville's.
"""

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from dspex.core.errors import EvaluationError
from dspex.core.evidence import Comparison, Verdict
from dspex.evaluate.statistics import BETS, Interval, examples_needed, smallest_gain

BLOCK = 32  # examples between two looks
MOST = 1e300  # more is no float


class Wealth:
    """The two gamblers' money, gain after gain."""

    __slots__ = ("_against", "_for")

    def __init__(self) -> None:
        self._for = [1.0] * len(BETS)
        self._against = [1.0] * len(BETS)

    def add(self, gain: float) -> None:
        """Bet on one more example. Raises EvaluationError for a gain beyond -1..1."""
        if not -1 <= gain <= 1:
            raise EvaluationError(
                f"A gain of {gain:g}: a sequential comparison needs scores in 0..1. Scale the metric, or compare at a fixed n."
            )
        if gain:  # equal scores move no money
            self._for = [money * (1 + bet * gain) for money, bet in zip(self._for, BETS, strict=True)]
            self._against = [money * (1 - bet * gain) for money, bet in zip(self._against, BETS, strict=True)]

    @property
    def sides(self) -> tuple[float, float]:
        """Evidence that `new` is better, and that it is worse; 1/alpha or more shows it at alpha, one-sided."""
        return min(MOST, sum(self._for) / len(BETS)), min(MOST, sum(self._against) / len(BETS))


class Look(msgspec.Struct, frozen=True):
    """What was known after n examples: gain in score points, and evidence for better and for worse."""

    n: int
    gain: float
    better: float
    worse: float


def anytime_interval(gains: Sequence[float], level: float = 0.95) -> Interval:
    """Interval for the mean gain that holds at all looks together, at its level; gains lie in -1..1.

    It excludes 0 just when the evidence for one side reaches 2 / (1 - level).
    """
    counts = Counter(gains)
    limit = 2 / (1 - level)
    low = 2 * _lowest([((1 + gain) / 2, count) for gain, count in counts.items()], limit) - 1
    high = 1 - 2 * _lowest([((1 - gain) / 2, count) for gain, count in counts.items()], limit)
    return Interval(low, high)


def anytime_verdict(
    old: Sequence[float], new: Sequence[float], looks: Sequence[Look], *, alpha: float = 0.05, cap: int | None = None
) -> Comparison:
    """Whether `new` is better than `old`, at the last of the looks; `cap` is how many examples there were at most."""
    gains = [b - a for a, b in zip(old, new, strict=True)]
    n, delta, last = len(gains), math.fsum(gains) / len(gains), looks[-1]
    q = math.fsum(gain * gain for gain in gains) / n
    low, high = anytime_interval(gains, 1 - alpha)
    found = shown(last, alpha)
    return Comparison(
        n=n, delta=delta, low=low, high=high, p=min(1.0, 2 / max(max(look.better, look.worse) for look in looks)),
        p_exact=None, test="betting at any time", verdict=found or "not shown", q=q, wins=sum(gain > 0 for gain in gains),
        losses=sum(gain < 0 for gain in gains), examples_needed=examples_needed(q, delta),
        smallest_gain=smallest_gain(q, n), basis=f"sequential, {n:,} of at most {cap or n:,}",
    )  # fmt: skip


def shown(look: Look, alpha: float) -> Verdict | None:
    """The verdict that a look allows, None to go on."""
    threshold = 2 / alpha
    return "better" if look.better >= threshold else "worse" if look.worse >= threshold else None


def _lowest(shares: Sequence[tuple[float, int]], limit: float) -> float:
    """The mean of values in 0..1, given with their counts, at which bets on a higher one just win `limit`-fold."""
    low, high = 0.0, sum(share * count for share, count in shares) / sum(count for _, count in shares)
    for _ in range(40 if high else 0):
        mean = (low + high) / 2
        logs = [sum(count * math.log1p(bet * (share / mean - 1)) for share, count in shares) for bet in BETS]
        won = sum(math.exp(min(log, 700.0)) for log in logs) / len(BETS)
        low, high = (mean, high) if won >= limit else (low, mean)
    return low
