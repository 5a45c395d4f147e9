"""A search's winner without its luck, and how many examples a claim needs."""

import random
from statistics import fmean

import pytest

from dspex.evaluate.statistics import examples_needed, max_t, out_of_bag, smallest_gain


def equal_programs(k: int, n: int, rng: random.Random) -> list[list[float]]:
    """0/1 scores of k programs that are all right in 60 % of cases."""
    return [[float(rng.random() < 0.6) for _ in range(n)] for _ in range(k)]


@pytest.mark.slow
def test_the_winners_score_is_corrected_to_within_two_points():
    rng, raw, corrected = random.Random(7), [], []
    for _ in range(40):
        scores = equal_programs(8, 32, rng)
        raw.append(max(map(fmean, scores)))
        corrected.append(out_of_bag(scores, rng, rounds=60).score)
    assert fmean(raw) > 0.68
    assert fmean(corrected) == pytest.approx(0.6, abs=0.02)


def test_the_baseline_and_the_gain_are_corrected_alike():
    scores = [[0.0, 1.0] * 20, [1.0] * 40]
    found = out_of_bag(scores, random.Random(0))
    assert found.score == 1.0
    assert found.baseline == pytest.approx(0.5, abs=0.03)
    assert found.gain == pytest.approx(0.5, abs=0.03)


def test_examples_that_a_candidate_never_saw_are_left_out():
    scores = [[0.0] * 20, [1.0] * 10 + [None] * 10]
    assert out_of_bag(scores, random.Random(0)).score == 1.0


def test_equal_candidates_are_settled_for_the_earlier():
    scores = [[0.5] * 10, [0.5] * 10]
    assert out_of_bag(scores, random.Random(0)).gain == 0.0


@pytest.mark.slow
def test_a_search_among_equal_programs_is_called_better_in_at_most_3_percent():
    rng, runs, found = random.Random(17), 60, 0
    for _ in range(runs):
        base, *others = equal_programs(5, 32, rng)
        gains = [[new - old for new, old in zip(row, base, strict=True)] for row in others]
        found += max(map(sum, gains)) > 5 and max_t(gains, rng) <= 0.025
    assert found <= 4  # 2.5 % of 60 is 1.5; five or more have a chance of 2 %


def test_a_large_gain_is_shown_though_the_winner_was_chosen_on_it():
    rng = random.Random(1)
    noise = [[rng.choice([-1.0, 0.0, 0.0, 1.0]) for _ in range(40)] for _ in range(4)]
    assert max_t([*noise, [1.0] * 12 + [0.0] * 28], rng) < 0.025 < max_t(noise, rng)
    assert max_t([*noise, [1.0] * 12 + [0.0] * 28], rng, winner=0) > 0.025


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 3, 12])
@pytest.mark.parametrize("n", [2, 8, 33, 100, 260])
def test_wins_and_losses_are_counted_as_any_gains_are(k, n):
    """Gains of 0.5 take the way of graded ones; how large they all are says nothing."""
    rng = random.Random(k * n)
    gains = [[rng.choice([-1.0, 0.0, 0.0, 1.0]) for _ in range(n)] for _ in range(k)]
    gains.append([0.0] * n)
    halves = [[gain / 2 for gain in row] for row in gains]
    for winner in (None, k):
        assert max_t(gains, random.Random(0), winner) == max_t(halves, random.Random(0), winner)


@pytest.mark.parametrize(
    ("gain", "needed"),
    [
        (0.02, (979, 1960, 3923, 5885, 7847)),
        (0.03, (434, 870, 1742, 2614, 3487)),
        (0.05, (None, 312, 626, 940, 1254)),
        (0.10, (None, None, 155, 234, 312)),
        (0.15, (None, None, 68, 103, 138)),
    ],
)
def test_examples_needed_for_a_gain(gain, needed):
    for q, expected in zip((0.05, 0.1, 0.2, 0.3, 0.4), needed, strict=True):
        assert expected is None or examples_needed(q, gain) == expected


@pytest.mark.parametrize("n", [20, 100, 626])
def test_the_smallest_gain_shown_is_the_inverse(n):
    gain = smallest_gain(0.2, n)
    assert examples_needed(0.2, gain * 1.0001) <= n < examples_needed(0.2, gain * 0.99)


def test_a_gain_next_to_none_needs_more_examples_than_there_are():
    assert examples_needed(0.0, 1e-237) is None


def test_nothing_can_be_shown_by_too_few_examples_or_none_that_changed():
    assert smallest_gain(0.3, 3) is None
    assert smallest_gain(0.0, 500) is None
    assert examples_needed(0.3, 0.0) is None
