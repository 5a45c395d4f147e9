"""How wide an interval is, and how often it holds what it promises."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex.evaluate.statistics import mean_interval, paired_interval, running_interval, tango, wilson

Z = 1.959963984540054


def pairs(wins: int, losses: int, n: int) -> tuple[list[float], list[float]]:
    """0/1 scores of two programs with that many wins and losses of the second."""
    old = [0.0] * wins + [1.0] * losses + [1.0] * (n - wins - losses)
    new = [1.0] * wins + [0.0] * losses + [1.0] * (n - wins - losses)
    return old, new


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_the_closed_form(case):
    successes, n = case
    p = successes / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    assert wilson(successes, n) == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_a_higher_level_gives_a_wider_interval():
    assert wilson(80, 100, 0.99).low < wilson(80, 100).low < 0.8 < wilson(80, 100).high < wilson(80, 100, 0.99).high


def test_scores_of_0_and_1_get_wilsons_interval_and_graded_ones_the_bootstraps():
    assert mean_interval([1, True, 0.0, 1.0], random.Random(0)) == wilson(3, 4)
    graded = [0.2, 0.4, 0.6, 0.8] * 25
    low, high = mean_interval(graded, random.Random(0))
    assert (low, high) == pytest.approx((0.5 - 0.0438, 0.5 + 0.0438), abs=0.006)
    assert mean_interval(graded, random.Random(0)) == (low, high)


def test_a_large_sample_gets_the_interval_of_a_smaller_one_scaled():
    graded = [0.2, 0.4, 0.6, 0.8]
    small = mean_interval(graded * 250, random.Random(0))
    large = mean_interval(graded * 2500, random.Random(0))
    assert large.high - large.low == pytest.approx((small.high - small.low) / math.sqrt(10), rel=0.06)


@pytest.mark.parametrize("scores", [[0.0, 1.0, 1.0] * 200, [0.2, 0.9, 0.4] * 200], ids=["0/1", "graded"])
def test_the_interval_of_a_growing_score_is_about_the_final_one(scores):
    squares = sum(score * score for score in scores)
    quick, whole = running_interval(sum(scores), squares, len(scores)), mean_interval(scores, random.Random(0))
    assert quick == pytest.approx(whole, abs=0.003)


def test_one_graded_score_says_nothing_and_none_is_an_error():
    assert mean_interval([0.7], random.Random(0)) == (0.0, 1.0)
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([], random.Random(0))


@pytest.mark.parametrize(
    ("wins", "losses", "n", "low", "high"),
    [(0, 1, 44, -0.1181, 0.0594), (0, 0, 20, -0.1611, 0.1611), (10, 0, 10, (10 - Z * Z) / (10 + Z * Z), 1.0)],
)
def test_tangos_interval_has_its_known_values(wins, losses, n, low, high):
    assert tango(wins, losses, n) == pytest.approx((low, high), abs=1e-4)


@given(st.tuples(*[st.integers(0, 200)] * 3).filter(any))
def test_tangos_interval_holds_the_gain_seen_and_mirrors(case):
    wins, losses, same = case
    n = wins + losses + same
    low, high = tango(wins, losses, n)
    assert -1 <= low <= (wins - losses) / n <= high <= 1
    assert low < high
    assert tango(losses, wins, n) == (-high, -low)


def score_test(gain: float, wins: int, losses: int, n: int) -> float:
    """Tango's statistic by its definition, the nuisance share found by looking for the most likely one."""

    def likelihood(lost: float) -> float:
        won, same = lost + gain, 1 - 2 * lost - gain
        return wins * math.log(won) + losses * math.log(lost) + (n - wins - losses) * math.log(same)

    low, high = max(0.0, -gain) + 1e-12, (1 - gain) / 2 - 1e-12
    for _ in range(200):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (left, high) if likelihood(left) < likelihood(right) else (low, right)
    return (wins - losses - n * gain) / math.sqrt(n * (2 * low + gain - gain * gain))


@pytest.mark.parametrize(("wins", "losses", "n"), [(12, 5, 60), (3, 9, 40), (40, 20, 300)])
def test_tangos_ends_are_where_the_score_test_just_rejects(wins, losses, n):
    low, high = tango(wins, losses, n)
    assert score_test(low, wins, losses, n) == pytest.approx(Z, abs=1e-4)
    assert score_test(high, wins, losses, n) == pytest.approx(-Z, abs=1e-4)


def binomial(n: int, chance: float, rng: random.Random) -> int:
    return sum(rng.random() < chance for _ in range(n))


@pytest.mark.slow
@pytest.mark.parametrize(("n", "q", "delta"), [(20, 0.1, 0.1), (32, 0.1, 0.1), (100, 0.3, 0.1)])
def test_the_interval_of_a_0_1_gain_holds_it_as_often_as_it_says(n, q, delta):
    rng, held, runs = random.Random(5), 0, 500
    for _ in range(runs):
        wins = binomial(n, (q + delta) / 2, rng)
        losses = binomial(n - wins, (q - delta) / 2 / (1 - (q + delta) / 2), rng)
        low, high = tango(wins, losses, n)
        held += low <= delta <= high
    assert held / runs >= 0.93


@pytest.mark.slow
def test_the_interval_of_a_graded_gain_holds_it_as_often_as_it_says():
    rng, held, runs = random.Random(6), 0, 60
    for _ in range(runs):
        old = [rng.betavariate(2, 2) for _ in range(40)]
        new = [score + rng.gauss(0.05, 0.2) for score in old]
        low, high = paired_interval(old, new, rng)
        held += low <= 0.05 <= high
    assert held / runs >= 0.88


def test_a_gain_needs_two_examples_scored_by_both():
    for old, new in ([0.0, 1.0], [1.0]), ([0.0], [1.0]):
        with pytest.raises(ValueError, match="two scores each of at least 2 examples"):
            paired_interval(old, new, random.Random(0))


def test_paired_scores_of_0_and_1_get_tangos_interval():
    assert paired_interval(*pairs(9, 2, 40), random.Random(0)) == tango(9, 2, 40)
