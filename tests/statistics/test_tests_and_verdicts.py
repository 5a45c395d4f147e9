"""What counts as a real gain, and how often chance alone passes for one."""

import math
import random

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dspex.evaluate.statistics import betting, mcnemar_exact, mcnemar_midp, sign_flip, verdict


def pairs(wins: int, losses: int, n: int) -> tuple[list[float], list[float]]:
    """0/1 scores of two programs with that many wins and losses of the second."""
    old = [0.0] * wins + [1.0] * losses + [1.0] * (n - wins - losses)
    new = [1.0] * wins + [0.0] * losses + [1.0] * (n - wins - losses)
    return old, new


@pytest.mark.parametrize(
    ("losses", "midp", "exact"), [(0, 5, 6), (1, 7, 8), (2, 9, 10), (3, 11, 12), (5, 14, 15), (10, 22, 23)]
)
def test_wins_needed_against_losses(losses, midp, exact):
    assert next(wins for wins in range(losses, 99) if mcnemar_midp(wins, losses) <= 0.05) == midp
    assert next(wins for wins in range(losses, 99) if mcnemar_exact(wins, losses) <= 0.05) == exact


def test_no_changed_example_and_an_even_split_show_nothing():
    assert mcnemar_midp(0, 0) == mcnemar_midp(7, 7) == mcnemar_exact(7, 7) == 1.0


def test_thousands_of_changed_examples_are_no_trouble():
    assert mcnemar_midp(6000, 5800) == pytest.approx(math.erfc(200 / math.sqrt(2 * 11800)), rel=0.01)


def test_few_gains_are_tried_under_every_sign():
    assert sign_flip([0.1, 0.2, 0.3, 0.4, 0.5], random.Random(0)) == 2 / 32
    assert sign_flip([0.3, -0.3, 0.0], random.Random(0)) == 1.0
    assert sign_flip([0.0, 0.0], random.Random(0)) == 1.0


@pytest.mark.parametrize("n", [13, 200, 2001])
def test_many_gains_are_tried_under_random_signs(n):
    gains = [random.Random(3).gauss(0.1, 0.5) if i % 2 else 0.05 for i in range(n)]
    z = abs(sum(gains)) / math.hypot(*gains)
    assert sign_flip(gains, random.Random(0)) == pytest.approx(math.erfc(z / math.sqrt(2)), abs=0.03)


@pytest.mark.parametrize(
    ("wins", "losses", "n", "expected"),
    [
        (5, 0, 20, "better"),
        (4, 0, 20, "not shown"),
        (0, 5, 20, "worse"),
        (22, 10, 200, "better"),
        (21, 10, 200, "not shown"),
    ],
)
def test_the_verdict_on_0_1_scores(wins, losses, n, expected):
    seen = verdict(*pairs(wins, losses, n), random.Random(0))
    assert (seen.verdict, seen.wins, seen.losses, seen.n) == (expected, wins, losses, n)
    assert seen.delta == pytest.approx((wins - losses) / n)
    assert seen.q == pytest.approx((wins + losses) / n)
    assert seen.p == mcnemar_midp(wins, losses)
    assert seen.p_exact == mcnemar_exact(wins, losses)


def chance_of(wins: int, losses: int, n: int, q: float) -> float:
    """Chance of exactly these counts when the programs are equal."""
    same = n - wins - losses
    ways = math.lgamma(n + 1) - math.lgamma(wins + 1) - math.lgamma(losses + 1) - math.lgamma(same + 1)
    return math.exp(ways + (wins + losses) * math.log(q / 2) + same * math.log(1 - q))


@pytest.mark.slow
@pytest.mark.parametrize("q", [0.1, 0.3])
@pytest.mark.parametrize("n", [20, 50, 200])
def test_equal_programs_with_0_1_scores_are_called_better_in_at_most_3_percent(n, q):
    """The sum over every outcome, no simulation: only those with a small p can be called better."""
    cells = [(wins, losses) for wins in range(1, n + 1) for losses in range(min(wins, n - wins + 1))]
    likely = [cell for cell in cells if chance_of(*cell, n, q) > 1e-6 and mcnemar_midp(*cell) <= 0.05]
    called = [cell for cell in likely if verdict(*pairs(*cell, n), random.Random(0)).verdict == "better"]
    assert 0 <= sum(chance_of(*cell, n, q) for cell in called) <= 0.03
    assert called


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 50])
def test_equal_programs_with_graded_scores_are_called_better_in_at_most_3_percent(n):
    rng, runs = random.Random(11), 200
    found = 0
    for _ in range(runs):
        old = [rng.betavariate(2, 1) for _ in range(n)]
        new = [score + rng.uniform(-0.3, 0.3) for score in old]
        if sign_flip_is_near(old, new):
            found += verdict(old, new, rng).verdict == "better"
    assert found / runs <= 0.03 + 2 * math.sqrt(0.03 * 0.97 / runs)


def sign_flip_is_near(old: list[float], new: list[float]) -> bool:
    """A quick look that spares the full test where it cannot reject."""
    gains = [b - a for a, b in zip(old, new, strict=True)]
    return sum(gains) / math.hypot(*gains) > 1.8


@pytest.mark.slow
def test_skewed_graded_gains_are_not_called_better_by_chance():
    """Mean gain 0, nine of ten gain a little and one loses much: sign flips alone err in one case of ten."""
    rng, runs, plain, found = random.Random(13), 80, 0, 0
    for _ in range(runs):
        gains = [0.05 if rng.random() < 0.9 else -0.45 for _ in range(32)]
        if sum(gains) / math.hypot(*gains) > 1.9:
            plain += sign_flip(gains, random.Random(1)) <= 0.05
            found += verdict([0.5] * 32, [0.5 + gain for gain in gains], random.Random(1)).verdict == "better"
    assert found <= runs * 0.02 < plain


def test_a_clear_graded_gain_is_called_better_and_says_by_which_test():
    rng = random.Random(2)
    old = [rng.random() * 0.5 for _ in range(60)]
    seen = verdict(old, [score + rng.uniform(0, 0.3) for score in old], rng, basis="held")
    assert (seen.verdict, seen.test, seen.basis, seen.p_exact) == ("better", "sign flip and betting", "held", None)
    assert 0 < seen.low < seen.delta < seen.high


def test_bets_win_on_a_steady_gain_and_refuse_gains_beyond_1():
    assert betting([0.3] * 30) > 40 > betting([0.3, -0.3] * 15)
    assert betting([0.3] * 30 + [1.5]) == 0.0


binary = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=2, max_size=80)
graded = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30)


@settings(max_examples=25, deadline=None)
@given(st.one_of(binary, graded), st.integers(0, 99))
@example([(0.0, 0.0), (0.0, 7.8e-118)], 0)
@example([(0.0, 0.0), (0.0, 5e-324)], 0)
def test_swapping_the_programs_mirrors_the_comparison(scores, seed):
    old, new = zip(*scores, strict=True)
    there, back = verdict(old, new, random.Random(seed)), verdict(new, old, random.Random(seed))
    mirrored = {"better": "worse", "worse": "better", "not shown": "not shown"}
    assert back.verdict == mirrored[there.verdict]
    assert (back.delta, back.low, back.high, back.p) == (-there.delta, -there.high, -there.low, there.p)
    assert (back.wins, back.losses, back.q, back.smallest_gain) == (
        there.losses,
        there.wins,
        there.q,
        there.smallest_gain,
    )


def test_a_comparison_says_in_words_what_was_and_was_not_shown():
    null = str(verdict(*pairs(12, 10, 50), random.Random(0), basis="held"))
    assert null.startswith("not shown (no real gain shown): +4.0 points [")
    assert "held" in null
    assert "needs 2,157 examples, 2,107 more;" in null
    assert "50 could show 26 points" in null
    assert str(verdict(*pairs(20, 2, 50), random.Random(0))).startswith("better: +36.0 points [")


def test_a_comparison_of_equal_outputs_names_no_number_of_examples():
    seen = verdict([1.0, 0.0], [1.0, 0.0], random.Random(0))
    assert (seen.verdict, seen.delta, seen.examples_needed, seen.smallest_gain) == ("not shown", 0.0, None, None)
    assert seen.examples_missing is None
    assert verdict(*pairs(20, 2, 50), random.Random(0)).examples_missing == 0
    assert "examples" not in str(seen).replace("n=2", "")


def test_a_comparison_is_data():
    seen = verdict(*pairs(5, 0, 20), random.Random(0))
    assert msgspec.json.decode(msgspec.json.encode(seen), type=type(seen)) == seen
