"""What goes wrong is counted, kept and said; what cannot work is refused before anything is paid."""

import asyncio

import pytest

from dspex.app.current import context
from dspex.core.errors import AuthError, ConfigurationError, EvaluationError, InputError
from dspex.core.example import Example, Prediction
from dspex.evaluate.evaluate import Evaluate
from dspex.program.module import Module
from dspex.program.predict import Predict


def test_a_program_that_raises_costs_the_failure_score_and_leaves_its_traceback(run, echo, questions, exact):
    result = run(Evaluate(questions(10), exact, failure_score=-1.0), echo(failing=frozenset({3})))
    assert result.score == 80.0
    (row,) = result.failures
    assert (row.index, row.score, row.prediction, row.example.question) == (3, -1.0, Prediction(), "3")
    assert "question 3 is too hard" in row.error
    assert "Traceback" in row.error


@pytest.mark.fault("P17")
@pytest.mark.parametrize("answer", [None, float("nan"), float("inf"), "1.0", [], Prediction(answer="1")], ids=repr)
def test_a_metric_that_returns_no_score_costs_the_failure_score_and_says_what_came(run, echo, questions, answer):
    result = run(Evaluate(questions(4), lambda example, prediction: answer if prediction.answer == "2" else 1), echo())
    assert result.score == 75.0
    (row,) = result.failures
    assert f"The metric returned {answer!r}" in row.error


@pytest.mark.fault("P17")
def test_a_metric_that_raises_costs_the_failure_score(run, echo, questions):
    result = run(Evaluate(questions(4), lambda example, prediction: prediction.anwser), echo())
    assert result.score == 0.0
    assert len(result.failures) == 4
    assert "has no field 'anwser'" in result.failures[0].error


def test_too_many_failures_stop_the_evaluation_and_keep_what_was_scored(run, echo, questions, exact):
    program = echo(turns=1, failing=frozenset(range(5, 500)))
    with pytest.raises(EvaluationError, match=r"3 of 8 examples failed.*example 7: RuntimeError: question 7") as caught:
        run(Evaluate(questions(500), exact, max_errors=3, num_threads=1), program)
    assert [score for _, _, score in caught.value.results] == [1.0] * 5 + [0.0] * 3
    assert "Traceback" not in str(caught.value)
    assert program.started < 20


@pytest.mark.parametrize(("settings", "failed"), [({}, 10), ({"max_errors": 2}, 2)])
def test_the_setting_says_how_many_failures_are_too_many(run, echo, questions, exact, settings, failed):
    with context(**settings), pytest.raises(EvaluationError, match=f"{failed} of {failed} examples failed"):
        run(Evaluate(questions(50), exact, num_threads=1), echo(failing=frozenset(range(50))))


def test_the_error_shows_the_traceback_if_asked(run, echo, questions, exact):
    evaluate = Evaluate(questions(3), exact, max_errors=1, provide_traceback=True)
    with pytest.raises(EvaluationError, match="Traceback"):
        run(evaluate, echo(failing=frozenset(range(3))))


def test_failures_below_the_limit_do_not_stop_anything(run, echo, questions, exact):
    result = run(Evaluate(questions(50), exact), echo(failing=frozenset(range(9))))
    assert (result.score, len(result.failures)) == (82.0, 9)


def bad(kind: str) -> Example:
    example = Example(question="1", answer="1")
    if kind == "declares none":
        return example
    return example.with_inputs("question", "context") if kind == "field absent" else example.with_inputs("answer")


class Program(Module):
    def __init__(self) -> None:
        super().__init__()
        self.started = 0

    async def aforward(self, question: str, style: str = "short") -> Prediction:
        self.started += 1
        return Prediction(answer=question)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("declares none", r"Example 7 declares no inputs: call .with_inputs"),
        ("field absent", "Example 7 lacks the input context"),
        ("input of the program absent", "Example 7 lacks the input question"),
    ],
)
def test_an_example_without_its_inputs_is_refused_before_any_example_runs(run, questions, exact, kind, words):
    program = Program()
    with pytest.raises(EvaluationError, match=words):
        run(Evaluate([*questions(7), bad(kind), *questions(2)], exact), program)
    assert program.started == 0


def test_an_iterators_bad_example_is_refused_when_it_comes(run, echo, questions, exact):
    program = echo()
    with pytest.raises(EvaluationError, match="Example 3 declares no inputs") as caught:
        run(Evaluate(iter([*questions(3), bad("declares none")]), exact, num_threads=1), program)
    assert len(caught.value.results) == program.started == 3


def test_a_devset_that_raises_ends_the_evaluation_with_its_own_error(run, echo, questions, exact):
    def rows():
        yield from questions(5)
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        run(Evaluate(rows(), exact), echo(turns=2))


@pytest.mark.parametrize("error", [InputError, ConfigurationError, AuthError])
def test_what_no_example_could_help_ends_the_evaluation_and_is_no_score_of_0(run, questions, exact, error):
    asked = []

    async def refusing(question):
        asked.append(question)
        raise error("there is no input 'question'")

    with pytest.raises(error, match="no input 'question'"):
        run(Evaluate(questions(500), exact, num_threads=2, max_errors=1000), refusing)
    assert len(asked) < 10


def test_without_an_lm_there_is_no_score(run, questions, exact):
    with pytest.raises(ConfigurationError, match="No LM is loaded"):
        run(Evaluate(questions(4), exact), Predict("question -> answer"))


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()], ids=repr)
def test_a_program_that_exits_or_cancels_itself_is_a_failure_like_any_other(run, questions, exact, error):
    async def leaving(question):
        if question == "1":
            raise error
        return Prediction(answer=question)

    result = run(Evaluate(questions(4), exact), leaving)
    assert (result.score, [row.index for row in result.failures]) == (75.0, [1])


def test_an_interrupt_ends_the_evaluation_and_not_the_loop(run, echo, questions, exact):
    async def interrupted(question):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Evaluate(questions(3), exact), interrupted)
    assert run(Evaluate(questions(3), exact), echo()).score == 100.0
