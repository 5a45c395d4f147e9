"""How sure a score or a gain is: intervals, tests and verdicts, as pure functions of the scores.

Scores are in score points, usually 0..1, never per cent. Two programs are always compared on the same examples: `old[i]`
and `new[i]` belong to one example, wins and losses count the examples on which `new` is higher or lower. What draws takes
a `random.Random`: equal streams give equal figures, and swapping `old` and `new` mirrors them exactly.
"""

import math
import random
from collections.abc import Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from dspex.core.evidence import Comparison, Corrected

T = TypeVar("T", int, float)
RESAMPLES = 2_000
FLIPS = 9_999
NORMAL_FROM = 2_000  # from here on a resample differs from the normal form by less than its own noise
_POWER_80 = 0.8416212335729143
TOP_BIT = 1 << 15
BETS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class Interval(NamedTuple):
    """A range that holds the true value at its level."""

    low: float
    high: float


def wilson(successes: float, n: int, level: float = 0.95) -> Interval:
    """Interval for one share of n. Method: score interval, Wilson 1927."""
    z = _quantile(level)
    share, narrow = successes / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / narrow
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / narrow
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def mean_interval(scores: Sequence[float], rng: random.Random, level: float = 0.95) -> Interval:
    """Interval for a mean score: Wilson's for 0/1 scores, else the bootstrap's. Raises ValueError for no scores."""
    if not scores:
        raise ValueError("No scores: an interval needs at least one.")
    if set(scores) <= {0, 1}:
        return wilson(sum(scores), len(scores), level)
    if len(scores) == 1:  # it says nothing
        return Interval(min(0.0, scores[0]), max(1.0, scores[0]))
    return _bootstrap(scores, rng, level)


def running_interval(total: float, squares: float, n: int) -> Interval:
    """Interval at 95 % for a mean of n scores from their sum and that of their squares, cheap enough for a progress bar.

    Wilson's where all are 0 or 1, else the normal form, which for few scores is too narrow.
    """
    if total == squares:  # so they are
        return wilson(total, n)
    mean = total / n
    half = _quantile(0.95) * math.sqrt(max(0.0, squares / n - mean * mean) / n)
    return Interval(mean - half, mean + half)


def paired_interval(old: Sequence[float], new: Sequence[float], rng: random.Random, level: float = 0.95) -> Interval:
    """Interval for the mean gain of `new` over `old`: Tango's for 0/1 scores, else the bootstrap's over examples."""
    gains = _gains(old, new)
    return tango(*_counts(gains), len(gains), level) if _binary(gains) else _bootstrap(gains, rng, level)


def tango(wins: int, losses: int, n: int, level: float = 0.95) -> Interval:
    """Interval for the gain in a paired 0/1 score, good for any n. Method: score interval, Tango 1998 (Stat. Med. 17)."""
    z = _quantile(level)

    def upper(b: int, c: int) -> float:
        low, high = (b - c) / n, 1.0
        for _ in range(60):
            gain = (low + high) / 2
            linear = (2 * n - b + c) * gain - b - c
            lost = (math.sqrt(max(0.0, linear * linear + 8 * n * c * gain * (1 - gain))) - linear) / (4 * n)
            outside = (n * gain - b + c) ** 2 > z * z * n * (2 * lost + gain * (1 - gain))
            low, high = (low, gain) if outside else (gain, high)
        return low

    return Interval(-upper(losses, wins), upper(wins, losses))


def mcnemar_midp(wins: int, losses: int) -> float:
    """Two-sided p-value for paired 0/1 scores. Method: McNemar 1947, mid-p form, Fagerland et al. 2013."""
    n, k = wins + losses, min(wins, losses)
    return 1.0 if wins == losses else (2 * _ways(n, k) - math.comb(n, k)) / (1 << n)


def mcnemar_exact(wins: int, losses: int) -> float:
    """The exact form of `mcnemar_midp`: never too small, and less able to show a gain."""
    return min(1.0, 2 * _ways(wins + losses, min(wins, losses)) / (1 << wins + losses))


def sign_flip(gains: Sequence[float], rng: random.Random) -> float:
    """Two-sided p-value for a mean gain of 0: the share of sign patterns that lead as far from it. Method: Fisher 1935.

    All patterns for up to 12 gains other than 0, else 9,999 random ones, from 2,000 on their normal form.
    """
    moved = [gain for gain in gains if gain]
    total = sum(moved)
    least = abs(total) - 1e-9 * sum(map(abs, moved))
    if len(moved) <= 12:
        sums = _subset_sums(moved, 0.0)
        return sum(abs(2 * part - total) >= least for part in sums) / len(sums)
    if len(moved) > NORMAL_FROM:
        return math.erfc(abs(total) / math.sqrt(2 * sum(gain * gain for gain in moved)))
    [flipped] = _flips([moved], rng)
    return (1 + sum(map(least.__le__, map(abs, flipped)))) / (FLIPS + 1)


def betting(gains: Sequence[float]) -> float:
    """E-value against a mean gain of 0 or less, 0.0 if one is beyond -1..1; 1/alpha or more shows a gain, skewed or not.

    It holds whenever one looks. Method: Waudby-Smith & Ramdas 2023 (arXiv 2010.09686).
    """
    if any(abs(gain) > 1 for gain in gains):
        return 0.0
    return sum(math.prod(1 + bet * gain for gain in gains) for bet in BETS) / len(BETS)


def verdict(
    old: Sequence[float], new: Sequence[float], rng: random.Random, *, alpha: float = 0.05, basis: str = "fixed n"
) -> Comparison:
    """Whether `new` is better than `old`, decided once, on examples that chose neither.

    "better" needs a two-sided p <= alpha and an interval above 0. Graded scores of fewer than 100 examples need the betting
    test as well if the gains are skewed, or all on one side (rare losses may not have come yet): there sign flips alone err
    in one case of ten. Divide alpha by the number of looks. Raises ValueError if lengths differ or are below 2.
    """
    gains = _gains(old, new)
    n, delta = len(gains), math.fsum(gains) / len(gains)
    wins, losses = _counts(gains)
    low, high = paired_interval(old, new, rng, 1 - alpha)
    binary = _binary(gains)
    p, test = (mcnemar_midp(wins, losses), "McNemar mid-p") if binary else (sign_flip(gains, rng), "sign flip")
    shown = p <= alpha and (low > 0 or high < 0)
    if not binary and n < 100 and (abs(_skew(gains)) > 1 or not min(wins, losses)):
        test += " and betting"
        shown = shown and betting([math.copysign(1, delta) * gain for gain in gains]) >= 2 / alpha
    q = math.fsum(gain * gain for gain in gains) / n
    return Comparison(
        n=n, delta=delta, low=low, high=high, p=p, p_exact=mcnemar_exact(wins, losses) if binary else None, test=test,
        verdict=("better" if delta > 0 else "worse") if shown else "not shown", q=q, wins=wins, losses=losses,
        examples_needed=examples_needed(q, delta), smallest_gain=smallest_gain(q, n), basis=basis,
    )  # fmt: skip


def out_of_bag(
    scores: Sequence[Sequence[float | None]], rng: random.Random, *, baseline: int = 0, rounds: int = 200
) -> Corrected:
    """A search's winner without the luck of being chosen on these scores: `scores[candidate][example]`, None if not run.

    Each round chooses on a resample (the earlier of equals) and scores on what it left out; that errs low, by up to 2
    points. Method: bootstrap bias correction, Tsamardinos et al. 2018.
    """
    n, base = len(scores[0]), scores[baseline]
    if n < 2:
        return Corrected(0.0, 0.0, 0.0)  # nothing is left out
    everything = frozenset(range(n))
    mean_of = [_known_mean if None in row else _whole_mean for row in scores]
    new: list[float | None] = []
    old: list[float | None] = []
    draws = rng.choices(list(range(n)), k=n * rounds)
    for first in range(0, len(draws), n):
        bag = draws[first : first + n]
        drawn = itemgetter(*bag)
        means = [mean(drawn(row)) for mean, row in zip(mean_of, scores, strict=True)]
        winner, left = scores[means.index(max(means))], sorted(everything.difference(bag))
        new += map(winner.__getitem__, left)
        old += map(base.__getitem__, left)
    gains = [None if b is None or a is None else b - a for b, a in zip(new, old, strict=True)]
    return Corrected(_known_mean(new), _known_mean(old), _known_mean(gains))


def max_t(gains: Sequence[Sequence[float]], rng: random.Random, winner: int | None = None) -> float:
    """One-sided p-value of a search's winner on the examples that chose it: `gains[candidate][example]` over the baseline.

    `winner` is the row of the largest sum unless given; compare with 0.025. Method: max-T, Westfall & Young 1993.
    """
    chosen = max(range(len(gains)), key=lambda row: sum(gains[row])) if winner is None else winner
    sizes = [math.hypot(*row) or 1.0 for row in gains]
    least = sum(gains[chosen]) / sizes[chosen] - 1e-9
    if len(gains[0]) < TOP_BIT and all(map(_binary, gains)):
        return (1 + _times_reached(gains, least, rng)) / (FLIPS + 1)
    rows = [[gain / size for gain in row] for row, size in zip(gains, sizes, strict=True)]
    return (1 + sum(map(least.__le__, map(max, *_flips(rows, rng), repeat(-math.inf))))) / (FLIPS + 1)


def examples_needed(q: float, delta: float) -> int | None:
    """Examples that show a true gain of `delta` with 80 % power, two-sided 5 %, None for no gain; `q` as in Comparison."""
    reach = _quantile(0.95) * math.sqrt(q) + _POWER_80 * math.sqrt(max(0.0, q - delta * delta))
    square = delta * delta  # 0.0 also for a gain that is next to none
    return math.ceil(reach * reach / square) if square else None


def smallest_gain(q: float, n: int) -> float | None:
    """The smallest true gain that n examples show with 80 % power, None where none could be; inverts `examples_needed`."""
    z, power = _quantile(0.95), _POWER_80
    if not q or n < z * z:
        return None
    return math.sqrt(q) * (z * math.sqrt(n) + power * math.sqrt(n - z * z + power * power)) / (n + power * power)


def _whole_mean(scores: Sequence[Any]) -> float:
    """The mean of scores of which none lacks."""
    return sum(scores) / len(scores)  # type: ignore[no-any-return]  # scores are numbers


def _known_mean(scores: Sequence[float | None]) -> float:
    """The mean of those that there are, 0.0 without any."""
    known = [score for score in scores if score is not None] if None in scores else scores
    return _whole_mean(known) if known else 0.0


def _gains(old: Sequence[float], new: Sequence[float]) -> list[float]:
    if len(old) != len(new) or len(old) < 2:
        raise ValueError(f"A comparison needs two scores each of at least 2 examples; got {len(old)} and {len(new)}.")
    return [b - a for a, b in zip(old, new, strict=True)]


def _counts(gains: Sequence[float]) -> tuple[int, int]:
    return sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)


def _binary(gains: Sequence[float]) -> bool:
    return set(gains) <= {-1, 0, 1}


def _bootstrap(values: Sequence[float], rng: random.Random, level: float) -> Interval:
    n = len(values)
    if n > NORMAL_FROM:
        mean = math.fsum(values) / n
        half = _quantile(level) * math.sqrt(math.fsum((value - mean) ** 2 for value in values)) / n
        return Interval(mean - half, mean + half)
    means: list[float] = []
    # A hundred at a time: one by one, their calls are most of a small sample's time.
    for _ in range(RESAMPLES // 100):
        draws = iter(rng.choices(values, k=100 * n))
        means += (sum(resample) / n for resample in zip(*[draws] * n, strict=True))
    means.sort()
    cut = round((1 - level) / 2 * RESAMPLES)
    return Interval(means[cut], means[-1 - cut])


def _signs(examples: int, rng: random.Random) -> list[bytes]:
    """Random signs in FLIPS patterns: a byte of each pattern for every eight examples."""
    width = -(-examples // 8)
    size = 4 * -(-width // 4)
    # The bits that one draw for each pattern would give: of its last four bytes it has the upper ones.
    drawn = rng.getrandbits(8 * size * FLIPS).to_bytes(size * FLIPS, "little")
    return [drawn[i if i < size - 4 else i + size - width :: size] for i in range(width)]


def _flips(rows: Sequence[Sequence[float]], rng: random.Random) -> list[list[float]]:
    """For each row its sums under random signs, one pattern for all rows; a table look-up settles eight signs."""
    columns = _signs(len(rows[0]), rng)
    flipped = []
    for row in rows:
        tables = (_subset_sums([*row[8 * i : 8 * i + 8], *[0.0] * 8][:8], 0.0) for i in range(len(columns)))
        parts = [map(table.__getitem__, column) for table, column in zip(tables, columns, strict=True)]
        total = sum(row)
        flipped.append([2 * part - total for part in map(sum, zip(*parts, strict=True))])
    return flipped


def _times_reached(gains: Sequence[Sequence[float]], least: float, rng: random.Random) -> int:
    """In how many flips of wins and losses the sum of some row over its size is `least` or more; the flips are those of `_flips`."""
    columns = _signs(len(gains[0]), rng)
    reached = [0, 0]
    for row in set(map(tuple, gains)):
        count = sum(map(bool, row))
        needed = math.ceil((least * math.sqrt(count) + count) / 2)
        if needed > count or (not count and least > 0):
            continue
        if needed <= 0:
            return FLIPS
        short = _lanes(TOP_BIT - needed)
        reached = [past | won + short for past, won in zip(reached, _won(row, columns), strict=True)]
    return sum((past & _lanes(TOP_BIT)).bit_count() for past in reached)


def _won(row: Sequence[float], columns: Sequence[bytes]) -> tuple[int, int]:
    """How often a row wins in each flip: all flips are counted at once, those of even and odd number in 16 bits each."""
    even = odd = 0
    for first in range(0, len(columns), 31):  # so many fit into 8 bits
        counts = 0
        for i in range(first, min(first + 31, len(columns))):
            part = [int(gain) for gain in row[8 * i : 8 * i + 8]]
            table = bytes(_subset_sums(part, part.count(-1)) * (256 >> len(part)))
            counts += int.from_bytes(columns[i].translate(table), "little")
        even, odd = even + (counts & _lanes(0xFF)), odd + (counts >> 8 & _lanes(0xFF))
    return even, odd


def _lanes(value: int) -> int:
    """That number in every 16 bits."""
    return int.from_bytes(value.to_bytes(2, "little") * (FLIPS // 2 + 1), "little")


def _subset_sums(values: Sequence[T], first: T) -> list[T]:
    """The sums of `first` and any of the values, by their bits."""
    sums = [first]
    for value in values:
        sums += [part + value for part in sums]
    return sums


def _ways(n: int, k: int) -> int:
    """Subsets of n things with at most k of them."""
    term = total = 1
    for i in range(min(k, n)):
        term = term * (n - i) // (i + 1)
        total += term
    return total


def _skew(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    # Divided first: the powers of tiny differences are 0.
    return sum(((value - mean) / deviation) ** 3 for value in values) / len(values) if deviation else 0.0


def _quantile(level: float) -> float:
    from statistics import NormalDist  # late: it loads decimal and fractions

    return NormalDist().inv_cdf((1 + level) / 2)
