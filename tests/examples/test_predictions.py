"""A Prediction is a record that may stand for its score, and may have several completions behind it."""

import copy
import decimal
import operator
import pickle

import pytest

import dspex
from dspex import Completions, Example, Prediction
from dspex.testing import DummyLM


def test_a_score_makes_a_prediction_a_number():
    half, one = Prediction(score=0.5, feedback="so so"), Prediction(score=True)
    assert (float(half), half + one, 1 + half, half / 2, 1 / half) == (0.5, 1.5, 1.5, 0.25, 2.0)
    assert sum([half, half, one]) / 3 == pytest.approx(2 / 3)
    assert max([half, one, Prediction(score=0)]) is one
    assert half + decimal.Decimal("0.5") == 1.0


@pytest.mark.parametrize(
    ("compare", "holds"), [(operator.lt, True), (operator.le, True), (operator.gt, False), (operator.ge, False)]
)
@pytest.mark.parametrize("other", [1, 0.75, True, Prediction(score=0.9)])
def test_scores_compare_with_numbers_and_predictions(compare, holds, other):
    assert compare(Prediction(score=0.5), other) is holds
    assert compare(other, Prediction(score=0.5)) is not holds


def test_equality_looks_at_fields_and_not_at_the_score():
    assert Prediction(score=1) == Prediction(score=1)
    assert Prediction(score=1) != Prediction(score=1, feedback="x")
    assert Prediction(score=1) != 1


@pytest.mark.parametrize("fields", [{"answer": "x"}, {"score": None}, {"score": "high"}, {"score": [1]}], ids=repr)
def test_a_prediction_without_a_number_as_score_is_no_number(fields):
    with pytest.raises(ValueError, match="no number in a field `score`"):
        float(Prediction(fields))
    with pytest.raises(ValueError, match="no number in a field `score`"):
        Prediction(fields) < 1  # noqa: B015


@pytest.mark.parametrize("work", [operator.add, operator.truediv, operator.lt, operator.ge])
def test_what_is_no_number_has_no_place_beside_a_score(work):
    with pytest.raises(TypeError):
        work(Prediction(score=1), "text")
    with pytest.raises(TypeError):
        work([], Prediction(score=1))


@pytest.mark.parametrize(
    ("fields", "truth"),
    [
        ({"score": 0}, False),
        ({"score": 0.0, "feedback": "bad"}, False),
        ({"score": False}, False),
        ({"score": 0.1}, True),
        ({"answer": ""}, True),
        ({"score": "none"}, True),
        ({}, False),
    ],
)
def test_the_truth_of_a_prediction_is_that_of_its_score_where_it_has_one(fields, truth):
    assert bool(Prediction(fields)) is truth


def test_an_example_with_a_score_is_no_number():
    with pytest.raises(TypeError):
        float(Example(score=1))


ROWS = [{"answer": "a", "n": 1}, {"answer": "b", "n": 2}, {"answer": "a", "n": 3}]


@pytest.mark.parametrize(
    "given", [ROWS, {"answer": ["a", "b", "a"], "n": [1, 2, 3]}, Completions(ROWS)], ids=["rows", "columns", "made"]
)
def test_all_completions_stand_behind_the_first(given):
    prediction = Prediction.from_completions(given)
    assert (prediction.answer, prediction.n) == ("a", 1)
    rows = prediction.completions
    assert (rows.answer, rows["n"], len(rows)) == (["a", "b", "a"], [1, 2, 3], 3)
    assert (rows[1], [row.n for row in rows]) == (Prediction(answer="b", n=2), [1, 2, 3])
    assert rows[1:] == [Prediction(answer="b", n=2), Prediction(answer="a", n=3)]
    assert ("answer" in rows, "other" in rows, dict(rows.items())["n"]) == (True, False, [1, 2, 3])
    with pytest.raises(IndexError, match="3 completions"):
        rows[3]
    with pytest.raises(AttributeError):
        rows.other  # noqa: B018


@pytest.mark.parametrize(
    "given",
    [[{"a": 1}, {"b": 2}], [{"a": 1}, {"a": 1, "b": 2}], {"a": [1], "b": [1, 2]}],
    ids=["other", "less", "columns"],
)
def test_completions_with_other_fields_are_refused(given):
    with pytest.raises(ValueError, match="same"):
        Prediction.from_completions(given)


def test_what_no_call_made_has_no_completions():
    assert Prediction(a=1).completions is None


def test_the_only_output_of_a_call_is_its_completion():
    with dspex.context(lm=DummyLM([{"answer": "yes"}])):
        prediction = dspex.Predict("question -> answer")(question="?")
    for one in (prediction, copy.deepcopy(prediction), pickle.loads(pickle.dumps(prediction))):
        assert (one.completions.answer, len(one.completions), one.completions[0].answer) == (["yes"], 1, "yes")
        assert repr(one) == "Prediction(answer='yes')"
    assert dspex.majority(prediction).answer == "yes"


def test_a_copy_keeps_completions_and_usage():
    prediction = Prediction.from_completions(ROWS)
    prediction.set_lm_usage({"m": {"total_tokens": 3}})
    twin = prediction.copy(answer="c")
    assert (twin.answer, prediction.answer, len(twin.completions)) == ("c", "a", 3)
    assert twin.get_lm_usage() == {"m": {"total_tokens": 3}}
    assert Prediction(a=1).get_lm_usage() is None


def test_a_repr_says_how_many_completions_there_are_and_is_cut():
    assert repr(Prediction(a=1, b="x")) == "Prediction(a=1, b='x')"
    assert repr(Prediction.from_completions(ROWS)) == "Prediction(answer='a', n=1)  # of 3 completions"
    assert repr(Completions(ROWS)) == "Completions(answer=['a', 'b', 'a'], n=[1, 2, 3])"
    assert len(repr(Prediction.from_completions([{"a": "x" * 9999}] * 100).completions)) < 400
