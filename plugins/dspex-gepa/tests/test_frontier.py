"""The frontier and draws from it, as pure functions, on tables drawn at random."""

import random
from collections import Counter

import pytest

from dspex_gepa.frontier import best_of, drawn, fronts_of, kept

SEEDS = range(20)


def table(seed):
    """Scores of some candidates on some examples, with many ties."""
    rng = random.Random(seed)
    candidates, examples = rng.randint(1, 9), rng.randint(1, 12)
    levels = rng.choice([(0, 1), (0, 0.5, 1), [n / 10 for n in range(11)]])
    return [[float(rng.choice(levels)) for _ in range(examples)] for _ in range(candidates)]


def means_of(scores):
    return [sum(row) / len(row) for row in scores]


def one_by_one(fronts, means):
    """What is kept, by the words of the paper: look again from the start after each one that goes."""
    alive = sorted({one for front in fronts for one in front}, key=lambda one: (means[one], one))
    while True:
        gone = next(
            (one for one in alive if all(set(front) & (set(alive) - {one}) for front in fronts if one in front)), None
        )
        if gone is None:
            return sorted(alive)
        alive.remove(gone)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_front_has_all_that_are_best_on_its_example(seed):
    scores = table(seed)
    for place, front in enumerate(fronts_of(scores)):
        column = [row[place] for row in scores]
        assert list(front) == [one for one, score in enumerate(column) if score == max(column)]


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_kept_is_best_everywhere_and_nobody_in_it_could_go(seed):
    scores = table(seed)
    fronts, means = fronts_of(scores), means_of(scores)
    found = kept(fronts, means)
    assert all(set(front) & set(found) for front in fronts)
    for one in found:
        assert any(set(front) & set(found) == {one} for front in fronts)
    assert found == one_by_one(fronts, means)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_candidate_that_is_best_alone_is_kept_and_a_draw_is_of_the_kept(seed):
    scores = table(seed)
    fronts, means = fronts_of(scores), means_of(scores)
    found = kept(fronts, means)
    assert {front[0] for front in fronts if len(front) == 1} <= set(found)
    assert {drawn(fronts, means, random.Random(draw)) for draw in range(20)} <= set(found)


def test_a_candidate_is_drawn_as_often_as_it_is_best():
    fronts, means = [(0,), (0, 1), (0,), (1,), (2,)], [0.6, 0.4, 0.2]
    rng = random.Random(0)
    counts = Counter(drawn(fronts, means, rng) for _ in range(6_000))
    assert [round(counts[one] / 1_000) for one in range(3)] == [3, 2, 1]


def test_of_equal_candidates_the_first_is_best_and_the_last_is_kept():
    assert best_of([0.5, 0.7, 0.7]) == 1
    assert kept([(0, 1), (0, 1)], [1.0, 1.0]) == [1]
