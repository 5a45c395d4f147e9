"""Several metrics in one run, scores of parts of the devset, and what each example took."""

import pytest

from dspex.core.errors import ConfigurationError, EvaluationError
from dspex.core.example import Example, Prediction
from dspex.evaluate.evaluate import Evaluate
from dspex.evaluate.statistics import wilson


def short(example, prediction):
    return len(prediction.answer) == 1


def told(example, prediction):
    return Prediction(score=0.5, feedback="half of it")


def test_the_first_metric_is_the_score_and_each_has_its_own_mean_and_interval(run, echo, questions, exact):
    result = run(Evaluate(questions(20, wrong=5), [exact, short, told]), echo())
    assert result.score == result.metrics["exact"].score == 75.0
    assert {name: found.score for name, found in result.metrics.items()} == {"exact": 75.0, "short": 50.0, "told": 50.0}
    low, high = wilson(10, 20)
    assert result.metrics["short"].interval == (round(100 * low, 2), round(100 * high, 2))
    assert result.rows[0].scores == {"exact": 0.0, "short": 1.0, "told": 0.5}
    assert result.rows[0].feedback == "told: half of it"


def test_named_metrics_are_columns_of_files(run, echo, questions, exact, tmp_path):
    path = tmp_path / "rows.csv"
    metrics = {"right": exact, "brief": short}
    run(Evaluate(questions(1), metrics, save_as_csv=str(path)), echo())
    assert path.read_text().splitlines() == ["question,example_answer,pred_answer,right,brief", "0,0,0,1.0,1.0"]


def test_one_metric_is_in_the_same_place(run, echo, questions, exact):
    (found,) = run(Evaluate(questions(4, wrong=1), exact), echo()).metrics.items()
    assert found[0] == "exact"
    assert (found[1].score, found[1].n, found[1].failures) == (75.0, 4, 0)
    assert str(found[1]) == "75.00 [30.1, 95.4] (n=4)"


def test_an_example_on_which_one_metric_fails_fails_in_all(run, echo, questions, exact):
    def fussy(example, prediction):
        return 1 / int(prediction.answer)

    result = run(Evaluate(questions(3), [exact, fussy]), echo())
    assert [row.index for row in result.failures] == [0]
    assert result.rows[0].scores == {"exact": 0.0, "fussy": 0.0}
    assert result.metrics["exact"].failures == 1


@pytest.mark.parametrize(
    "metrics", [[], {}, [lambda a, b: 1, lambda a, b: 0]], ids=["none", "no names", "one name twice"]
)
def test_metrics_that_cannot_be_told_apart_are_refused_before_anything_runs(run, echo, questions, metrics):
    program = echo()
    with pytest.raises(ConfigurationError, match="metric"):
        run(Evaluate(questions(2), metrics), program)
    assert program.started == 0


def by_kind(n: int) -> list[Example]:
    kinds = ["date", "city"]
    return [Example(question=str(i), answer=str(i % 3), kind=kinds[i % 2]).with_inputs("question") for i in range(n)]


@pytest.mark.parametrize("by", ["kind", lambda example: example.kind], ids=["field", "function"])
def test_a_devset_is_scored_by_slices(run, echo, exact, by):
    result = run(Evaluate(by_kind(6), exact, slice_by=by), echo(failing=frozenset({4})))
    assert list(result.slices) == ["city", "date"]
    assert (result.slices["city"].score, result.slices["date"].score) == (33.33, 66.67)
    assert (result.slices["date"].n, result.slices["date"].failures) == (3, 1)
    low, high = wilson(1, 3)
    assert result.slices["city"].interval == (round(100 * low, 2), round(100 * high, 2))


def test_slices_may_be_asked_for_afterwards(run, echo, questions, exact):
    result = run(Evaluate(questions(4, wrong=1), exact), echo())
    assert result.slices == {}
    assert {label: found.n for label, found in result.sliced(lambda example: int(example.question) > 0).items()} == {
        False: 1,
        True: 3,
    }


@pytest.mark.parametrize(
    "by", ["kind", lambda example: [1], lambda example: 1 / 0], ids=["no field", "a list", "raises"]
)
def test_a_slice_that_cannot_be_told_is_refused_before_anything_is_paid(run, echo, questions, exact, by):
    program = echo()
    with pytest.raises(EvaluationError, match="no slice for example 0"):
        run(Evaluate(questions(3), exact, slice_by=by), program)
    assert program.started == 0
