"""The ready metrics: DSPy's normal form, mended where it forgets what a number is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex.core.example import Example, Prediction
from dspex.core.messages import Passage
from dspex.evaluate.metrics import (
    EM,
    F1,
    HotPotF1,
    answer_exact_match,
    answer_passage_match,
    normalize_text,
    precision_score,
)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("The Eiffel  Tower!", "eiffel tower"),
        ("A", ""),
        ("Café", "cafe\u0301"),
        ("-1.5", "15"),
        ("an apple, a day", "apple day"),
    ],
)
def test_the_normal_form_is_dspys(text, form):
    assert normalize_text(text) == form


SAME = [
    ("Paris", "paris."), ("the answer", "Answer"), ("A", "a"), ("-5", "-5"), ("1.5", "1.5"), ("1,000", "1000"), ("5.", "5"),
    (5.0, "5"), (5, "5.0"), ("$-3.20", "-3.20"), (True, True), ("Dr. Who", "dr who"), ("12 angry men", "12 Angry Men!"),
    ("2024-01-05", "2024-01-05"), ("mid-5 range", "mid5 range"),
]  # fmt: skip
DIFFERENT = [
    ("A", "the"), ("A", "an"), ("-5", "5"), ("1.5", "15"), ("-$5", "$5"), (".5", "5"), ("3/5", "35"), ("12:30", "1230"),
    ("1.5 kg", "15 kg"), ("1,5", "15"), ("!", "?"), ("-5 degrees", "5 degrees"), ("2024-01-05", "20240105"), (5, "six"),
    ("a.", ""),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME, ids=str)
def test_texts_that_mean_the_same_match(one, other):
    assert EM(one, [other])
    assert EM(other, ["nothing", one])
    assert F1(one, [other]) == 1.0


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=str)
def test_texts_that_mean_something_else_do_not(one, other):
    assert not EM(one, [other])
    assert not EM(other, [one])
    assert F1(one, [other]) < 1.0


def test_f1_weighs_shared_words_and_takes_the_best_answer():
    assert F1("the cat sat", ["cat sat down"]) == pytest.approx(2 * 2 / 5)
    assert F1("cat", ["dog", "a cat"]) == 1.0
    assert F1("cat", ["dog"]) == F1("cat", []) == 0.0


@pytest.mark.parametrize(
    ("prediction", "answers", "score"),
    [
        ("yes", ["yes"], 1.0),
        ("Yes.", ["no", "yes"], 1.0),
        ("yes it is", ["yes"], 0.0),
        ("no", ["yes"], 0.0),
        ("noanswer", ["a cat"], 0.0),
        ("cat sat", ["cat"], 2 / 3),
        ("yes", [], 0.0),
    ],
)
def test_a_yes_or_no_has_no_part_of_it_right_in_hotpots_f1(prediction, answers, score):
    assert HotPotF1(prediction, answers) == pytest.approx(score)


@pytest.mark.parametrize(
    ("prediction", "answer", "share"),
    [("a cat sat", "the cat", 1 / 2), ("cat", "cat sat", 1.0), ("dog", "cat", 0.0), ("", "cat", 0.0)],
)
def test_precision_is_the_share_of_the_predictions_words(prediction, answer, share):
    assert precision_score(prediction, answer) == share


def test_the_names_stand_where_dspy_has_them():
    import dspex.evaluate

    for name in dspex.evaluate.__all__:
        assert getattr(dspex.evaluate, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        dspex.evaluate.Nothing  # noqa: B018  looking is what is tested


@pytest.mark.parametrize("answer", ["Paris", ["Lutetia", "Paris"]])
def test_exact_match_takes_one_right_answer_or_several(answer):
    assert answer_exact_match(Example(answer=answer), Prediction(answer="paris"))
    assert not answer_exact_match(Example(answer=answer), Prediction(answer="london"))


def test_exact_match_takes_a_least_f1():
    example, pred = Example(answer="the cat sat down"), Prediction(answer="cat sat")
    assert not answer_exact_match(example, pred)
    assert answer_exact_match(example, pred, frac=0.8)
    assert not answer_exact_match(example, pred, frac=0.81)


@pytest.mark.parametrize("wrap", [str, lambda text: Passage(text=text)], ids=["text", "passage"])
def test_passage_match_looks_for_whole_words_in_any_passage(wrap):
    pred = Prediction(context=[wrap("Nothing here."), wrap("The Eiffel Tower is 330.5 m high")])
    assert answer_passage_match(Example(answer="eiffel tower"), pred)
    assert answer_passage_match(Example(answer=["Big Ben", "330.5"]), pred)
    for absent in ("tow", "3305", "the", "330"):
        assert not answer_passage_match(Example(answer=absent), pred), absent


@pytest.mark.slow
@given(st.text(), st.text())
def test_any_two_texts_compare_both_ways_alike(one, other):
    assert EM(one, [other]) == EM(other, [one])
    assert EM(one, [one])
    assert 0.0 <= F1(one, [other]) <= 1.0
    assert F1(one, [other]) == pytest.approx(F1(other, [one]))
