"""Merges and minibatches, as pure functions."""

import random

import pytest

from dspex_gepa.batches import Epochs
from dspex_gepa.merging import Lineage, ancestors, merge_of, sampled

ORIGIN = {"a": "a0", "b": "b0"}


def lineage(*members):
    """Candidates as (texts, parents, mean)."""
    texts, parents, means = zip(*members, strict=True)
    return Lineage([{**ORIGIN, **given} for given in texts], parents, means)


def found(known, among=None, done=(), seed=0):
    return merge_of(known, among or range(1, len(known.texts)), set(done), random.Random(seed))


TWO = lineage(({}, (), 0.2), ({"a": "a1"}, (0,), 0.5), ({"b": "b2"}, (0,), 0.4))


@pytest.mark.parametrize("seed", range(5))
def test_a_merge_has_from_each_what_it_changed(seed):
    merge = found(TWO, seed=seed)
    assert (merge.first, merge.second, merge.ancestor) == (1, 2, 0)
    assert merge.texts == {"a": "a1", "b": "b2"}
    assert merge.sources == (1, 2)


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (lineage(({}, (), 0.2), ({"a": "a1"}, (0,), 0.5), ({"a": "a1", "b": "b2"}, (1,), 0.6)), "one made the other"),
        (
            lineage(({}, (), 0.45), ({"a": "a1"}, (0,), 0.5), ({"b": "b2"}, (0,), 0.4)),
            "the ancestor is better than one",
        ),
        (lineage(({}, (), 0.2), ({"a": "a1"}, (0,), 0.5), ({"a": "a2"}, (0,), 0.4)), "both changed the same"),
        (lineage(({}, (), 0.2), ({"a": "a1"}, (0,), 0.5), ({"a": "a1"}, (0,), 0.4)), "both are the same"),
        (lineage(({}, (), 0.2), ({"a": "a1"}, (), 0.5), ({"b": "b2"}, (), 0.4)), "there is no common ancestor"),
        (lineage(({}, (), 0.2), ({"a": "a1"}, (0,), 0.5)), "there is one only"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_there_is_no_merge_where(known, why):
    assert all(found(known, seed=seed) is None for seed in range(10)), why


def test_what_was_merged_is_not_merged_again():
    marks = found(TWO).marks
    assert marks == {(1, 2, 0), (1, 2, (1, 2))}
    assert all(found(TWO, done=[mark]) is None for mark in marks)


@pytest.mark.parametrize(
    ("means", "from_whom"), [((0.1, 0.5, 0.4), {"b1"}), ((0.1, 0.4, 0.5), {"b2"}), ((0.1, 0.5, 0.5), {"b1", "b2"})]
)
def test_of_what_both_changed_the_better_ones_is_taken_and_a_tie_is_drawn(means, from_whom):
    members = ({}, {"a": "a1", "b": "b1"}, {"b": "b2"})
    known = lineage(*zip(members, ((), (0,), (0,)), means, strict=True))
    assert {found(known, seed=seed).texts["b"] for seed in range(20)} == from_whom


def test_scores_that_can_be_no_weights_still_give_an_ancestor():
    for low in (0.0, -1.0):
        known = lineage(({}, (), low), ({"a": "a1"}, (0,), low), ({"b": "b2"}, (0,), low))
        assert found(known).ancestor == 0


def test_ancestors_are_found_through_merges_once():
    assert ancestors(4, [(), (0,), (0,), (1, 2), (3,)]) == {0, 1, 2, 3}


@pytest.mark.parametrize("seed", range(20))
def test_a_merge_is_tried_on_some_of_each_kind(seed):
    rng = random.Random(seed)
    first, second = ([float(rng.random() < 0.5) for _ in range(12)] for _ in range(2))
    places = sampled(first, second, rng)
    assert len(places) == len(set(places)) == 5
    kinds = [[place for place in range(12) if sign(first[place], second[place]) == kind] for kind in (1, -1, 0)]
    for kind in kinds:
        assert sum(place in kind for place in places) >= min(1, len(kind))


def sign(one, other):
    return (one > other) - (one < other)


def test_of_few_examples_all_are_taken():
    assert sampled([1.0, 0.0], [0.0, 0.0], random.Random(0)) == [0, 1]


@pytest.mark.parametrize(("count", "size"), [(12, 3), (7, 3), (5, 4), (3, 3), (2, 5), (1, 1), (10, 7)])
def test_an_epoch_has_every_example_and_no_batch_has_one_twice(count, size):
    epochs = Epochs(count, size, random.Random)
    per_epoch = -(-count // min(size, count))
    used = [0] * count
    for _ in range(6):
        batches = [epochs.batch() for _ in range(per_epoch)]
        assert {place for batch in batches for place in batch} == set(range(count))
        assert all(len(batch) == len(set(batch)) == min(size, count) for batch in batches)
        for place in (place for batch in batches for place in batch):
            used[place] += 1
    # Who is in no last batch gets no more of the first ones, so the padding can be one ahead.
    assert max(used) - min(used) <= 2


def test_each_epoch_is_in_another_order_and_the_same_for_the_same_seed():
    made = [Epochs(20, 20, random.Random) for _ in range(2)]
    orders = [[one.batch() for _ in range(3)] for one in made]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders[0]}) == 3
