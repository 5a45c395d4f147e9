"""A comparison that is looked at after every example: what chance alone shows, and what a real gain does."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex.core.errors import EvaluationError
from dspex.evaluate.sequential import Look, Wealth, anytime_interval, anytime_verdict, shown
from dspex.evaluate.statistics import BETS, betting, mcnemar_midp

THRESHOLD = 40  # a verdict at 5 %, both sides together


def binary(rng: random.Random, q: float, delta: float = 0.0) -> float:
    """A gain of 0/1 scores: a share q of examples changes, `delta` is the mean."""
    draw = rng.random()
    return 1.0 if draw < (q + delta) / 2 else -1.0 if draw < q else 0.0


def skewed(rng: random.Random) -> float:
    """Nine of ten gain a little, one loses much; the mean is 0."""
    return 0.05 if rng.random() < 0.9 else -0.45


def first_shown(draw, n: int) -> int | None:
    """After how many of n examples a verdict is shown to one who looks after each."""
    wealth = Wealth()
    for count in range(1, n + 1):
        wealth.add(draw())
        if max(wealth.sides) >= THRESHOLD:
            return count
    return None


def most_by_chance(runs: int) -> float:
    """5 % and what 2.5 standard errors of so many runs add."""
    return 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [lambda rng: binary(rng, 0.3), skewed], ids=["0/1", "skewed"])
def test_equal_programs_are_seldom_told_apart_though_each_example_is_looked_at(draw):
    rng, runs = random.Random(31), 100
    found = sum(first_shown(lambda: draw(rng), 150) is not None for _ in range(runs))
    assert found / runs <= most_by_chance(runs)


def test_looking_at_a_fixed_n_test_as_it_goes_makes_chance_pass_for_a_gain():
    """The reason for all this: the same looks, at McNemar's p."""
    rng, runs, found = random.Random(32), 150, 0
    for _ in range(runs):
        wins = losses = 0
        for count in range(1, 201):
            gain = binary(rng, 0.3)
            wins, losses = wins + (gain > 0), losses + (gain < 0)
            if count % 10 == 0 and mcnemar_midp(wins, losses) <= 0.05:
                found += 1
                break
    assert found / runs > 0.12


def test_a_real_gain_is_shown_about_as_soon_as_by_a_planned_test():
    """q .2 and a gain of 15 points: a fixed n needs 68 examples for 80 %."""
    rng, runs = random.Random(33), 60
    stops = [first_shown(lambda: binary(rng, 0.2, 0.15), 400) for _ in range(runs)]
    assert None not in stops
    assert sorted(stops)[runs // 2] <= 90


@settings(max_examples=40)
@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), max_size=60))
def test_the_evidence_is_that_of_the_fixed_form_and_mirrors(gains):
    wealth, mirrored = Wealth(), Wealth()
    for gain in gains:
        wealth.add(gain)
        mirrored.add(-gain)
    assert wealth.sides == pytest.approx((betting(gains), betting([-gain for gain in gains])))
    assert mirrored.sides == wealth.sides[::-1]


@settings(max_examples=40)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=25))
def test_the_interval_holds_the_gain_and_excludes_0_just_when_a_verdict_is_shown(gains):
    low, high = anytime_interval(gains)
    mean = sum(gains) / len(gains)
    assert -1 - 1e-9 <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= 1 + 1e-9
    better, worse = betting(gains), betting([-gain for gain in gains])
    if abs(better - THRESHOLD) > 0.01 and abs(worse - THRESHOLD) > 0.01:
        assert (low > 0, high < 0) == (better >= THRESHOLD, worse >= THRESHOLD)


@pytest.mark.slow
def test_the_interval_holds_the_true_gain_at_all_looks_together():
    rng, runs, lost = random.Random(34), 30, 0
    for _ in range(runs):
        gains = [binary(rng, 0.4, 0.2) for _ in range(160)]
        looks = [anytime_interval(gains[:n]) for n in range(8, 161, 32)]
        lost += any(not low <= 0.2 <= high for low, high in looks)
    assert lost / runs <= most_by_chance(runs)


def test_thousands_of_examples_are_no_trouble():
    wealth = Wealth()
    for _ in range(5_000):
        wealth.add(1.0)
    better, worse = wealth.sides
    assert math.isfinite(better)
    assert better > 1e100
    assert 0 <= worse < 1e-20
    low, high = anytime_interval([1.0] * 5_000)
    assert 0.9 < low < high == pytest.approx(1.0)


def test_scores_beyond_0_and_1_are_refused():
    with pytest.raises(EvaluationError, match=r"scores in 0\.\.1"):
        Wealth().add(1.5)


@pytest.mark.parametrize(("better", "worse", "verdict"), [(40, 0, "better"), (0, 40, "worse"), (39.9, 39.9, None)])
def test_a_look_shows_a_verdict_from_the_threshold_on(better, worse, verdict):
    assert shown(Look(10, 0.0, better, worse), 0.05) == verdict
    assert shown(Look(10, 0.0, better, worse), 0.01) is None


def test_the_comparison_has_the_figures_of_the_last_look():
    old, new = [0.0] * 20, [1.0] * 12 + [0.0] * 8
    wealth = Wealth()
    for before, after in zip(old, new, strict=True):
        wealth.add(after - before)
    found = anytime_verdict(old, new, [Look(20, 0.6, *wealth.sides)], cap=100)
    assert (found.verdict, found.n, found.delta, found.wins, found.losses) == ("better", 20, 0.6, 12, 0)
    assert found.p == pytest.approx(2 / (sum((1 + bet) ** 12 for bet in BETS) / len(BETS)))
    assert 0 < found.low < 0.6 < found.high
    assert found.basis == "sequential, 20 of at most 100"
