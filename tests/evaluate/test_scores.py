"""A program is scored: the result, its interval, how many run at once, and every form of program and metric."""

import asyncio
import threading
import time

import pytest

from dspex.app.current import context
from dspex.app.lm import LM
from dspex.core.endpoint import Capabilities
from dspex.core.errors import ConfigurationError, EvaluationError
from dspex.core.example import Example, Prediction
from dspex.evaluate.evaluate import Evaluate
from dspex.evaluate.running import Scorer
from dspex.evaluate.statistics import wilson
from dspex.program.module import Module


def test_the_score_is_in_per_cent_and_the_results_are_in_the_devsets_order(run, echo, questions, exact):
    devset = questions(8, wrong=3)
    result = run(Evaluate(devset, exact, num_threads=4), echo(turns=2))
    assert result.score == 62.5
    assert [example for example, _, _ in result.results] == devset
    assert [score for _, _, score in result.results] == [0.0] * 3 + [1.0] * 5
    assert [prediction.answer for _, prediction, _ in result.results] == list("01234567")


def test_a_result_is_a_prediction_with_a_score(run, echo, questions, exact):
    result = run(Evaluate(questions(3, wrong=2), exact), echo())
    assert isinstance(result, Prediction)
    assert result.score == 33.33
    assert float(result) < 50
    assert repr(result) == "EvaluationResult(score=33.33, results=<list of 3 results>)"


def test_every_score_has_an_interval(run, echo, questions, exact):
    low, high = wilson(15, 20)
    assert run(Evaluate(questions(20, wrong=5), exact), echo()).interval == (round(100 * low, 2), round(100 * high, 2))
    graded = run(Evaluate(questions(20), lambda example, prediction: int(example.answer) / 20), echo())
    assert graded.interval.low < graded.score < graded.interval.high


def test_what_the_call_is_given_goes_before_what_was_given_first(run, echo, questions, exact):
    evaluate = Evaluate(devset=questions(4, wrong=4), metric=lambda example, prediction: 0.25)
    assert run(evaluate, echo()).score == 25.0
    assert run(evaluate, echo(), metric=exact, devset=questions(2)).score == 100.0
    assert run(evaluate, echo(), exact).score == 0.0


def test_an_unknown_argument_is_refused(run, echo, questions, exact):
    with pytest.raises(TypeError, match="num_thread"):
        Evaluate(devset=questions(1), metric=exact, num_thread=3)
    with pytest.raises(TypeError, match="return_outputs"):
        run(Evaluate(questions(1), exact), echo(), return_outputs=True)


@pytest.mark.parametrize(("asked", "most"), [(1, 1), (5, 5), (None, 64)])
def test_num_threads_is_how_many_examples_run_at_once(run, echo, questions, exact, asked, most):
    program = echo(turns=3)
    run(Evaluate(questions(200), exact, num_threads=asked), program)
    assert program.most == most


def test_the_setting_and_the_models_own_limit_bound_num_threads(run, echo, questions, exact):
    class Model:
        capabilities = Capabilities(max_concurrency=2)

    class Part:
        lm = None

    program = echo(turns=3)
    program.predictors = lambda: [Part()]
    with context(num_threads=7):
        run(Evaluate(questions(20), exact), echo_of_seven := echo(turns=3))
        with context(lm=LM("model", provider=Model())):
            run(Evaluate(questions(20), exact), program)
    assert (echo_of_seven.most, program.most) == (7, 2)


def test_num_threads_of_zero_is_refused(run, echo, questions, exact):
    with pytest.raises(ConfigurationError, match="num_threads=0"):
        run(Evaluate(questions(1), exact, num_threads=0), echo())


class Forward(Module):
    def forward(self, question: str) -> Prediction:
        return Prediction(answer=question)


class Aforward(Module):
    async def aforward(self, question: str) -> Prediction:
        return Prediction(answer=question)


async def coroutine(question: str) -> Prediction:
    return Prediction(answer=question)


def function(question: str) -> Prediction:
    return Prediction(answer=question)


@pytest.mark.parametrize("program", [Forward(), Aforward(), coroutine, function], ids=lambda program: str(program)[:9])
def test_any_form_of_program_is_scored(run, questions, exact, program):
    assert run(Evaluate(questions(5, wrong=1), exact), program).score == 80.0


def plain(example, prediction):
    return 0.5


def traced(example, prediction, trace=None):
    assert trace is None
    return Prediction(score=0.5, feedback="half right")


def needs_trace(example, prediction, trace):
    return 0.5


def of_five(gold, pred, trace, pred_name, pred_trace):
    assert (trace, pred_name, pred_trace) == (None, None, None)
    return 0.5


def of_five_by_default(gold, pred, trace=None, pred_name=None, pred_trace=None):
    return 0.5


def with_an_option(example, prediction, frac=0.5):
    return frac


def with_any(*given):
    assert len(given) == 2
    return 0.5


async def slow(example, prediction):
    await asyncio.sleep(0)
    return 0.5


class Judge(Module):
    async def aforward(self, example, prediction, trace=None):
        return Prediction(score=0.5)


class Checker:
    def __call__(self, example, prediction):
        return 0.5


METRICS = [plain, traced, needs_trace, of_five, of_five_by_default, with_an_option, with_any, slow, Judge(), Checker()]


@pytest.mark.parametrize("metric", METRICS, ids=lambda one: getattr(one, "__name__", type(one).__name__))
def test_any_form_of_metric_scores(run, echo, questions, metric):
    result = run(Evaluate(questions(4), metric), echo())
    assert result.score == 50.0
    assert not result.failures


async def test_feedback_is_kept_and_a_trace_is_handed_on():
    example, seen = Example(question="1").with_inputs("question"), []

    def noting(example, prediction, trace=None):
        seen.append(trace)
        return Prediction(score=True, feedback="well done")

    assert await Scorer(noting)(example, Prediction(), trace=["step"]) == (1.0, "well done")
    assert seen == [["step"]]


def test_a_score_with_feedback_is_a_prediction_among_the_results(run, echo, questions):
    evaluate = Evaluate(questions(3), lambda example, prediction: Prediction(score=0.5, feedback=example.question))
    result = run(evaluate, echo())
    assert [(told.score, told.feedback) for _, _, told in result.results] == [(0.5, "0"), (0.5, "1"), (0.5, "2")]
    assert sum(told for _, _, told in result.results) == 1.5
    assert result.interval.low <= result.score == 50.0 <= result.interval.high


@pytest.mark.parametrize(
    "metric",
    [None, 3, lambda example: 1, lambda a, b, c, d, e, f: 1],
    ids=["nothing", "a number", "too few parameters", "too many parameters"],
)
def test_what_cannot_be_a_metric_is_refused_before_anything_runs(run, echo, questions, metric):
    program = echo()
    with pytest.raises(ConfigurationError, match=r"function of \(example, prediction"):
        run(Evaluate(questions(3), metric), program)
    assert program.started == 0


@pytest.mark.parametrize("answer", [True, 1, 1.0, Prediction(score=1), Prediction(score=True)], ids=str)
def test_a_metric_answers_with_a_number_a_bool_or_a_prediction(run, echo, questions, answer):
    assert run(Evaluate(questions(2), lambda example, prediction: answer), echo()).score == 100.0


class Thread:
    """A metric that notes which threads it was called on."""

    def __init__(self, seconds: float = 0.0, call=None) -> None:
        self.seconds, self.call, self.threads = seconds, call, []

    def __call__(self, example, prediction) -> bool:
        self.threads.append(threading.get_ident())
        if self.call is not None:
            self.call()
        if self.seconds:
            time.sleep(self.seconds)  # a metric that blocks is what is tested
        return True


def test_a_fast_metric_runs_on_the_loop(questions, echo):
    metric = Thread()
    asyncio.run(Evaluate(questions(30), metric).acall(echo()))
    assert set(metric.threads) == {threading.get_ident()}


@pytest.mark.fault("P16")
@pytest.mark.parametrize(("seconds", "most_on_loop"), [(0.06, 1), (0.005, 3)])
def test_a_metric_that_blocks_the_loop_goes_to_threads(questions, echo, seconds, most_on_loop):
    metric = Thread(seconds)
    result = asyncio.run(Evaluate(questions(10), metric).acall(echo()))
    assert metric.threads.count(threading.get_ident()) <= most_on_loop
    assert result.score == 100.0


def test_a_metric_that_makes_a_sync_dspex_call_goes_to_threads(questions, echo):
    metric = Thread(call=lambda: Aforward()(question="1"))
    result = Evaluate(questions(12), metric, num_threads=3)(echo())
    assert result.score == 100.0
    assert len(set(metric.threads)) > 1
    assert metric.threads.count(metric.threads[0]) == 1


def test_usage_is_what_the_evaluation_paid(run, echo, questions, exact):
    assert run(Evaluate(questions(2), exact), echo()).usage.total_tokens == 0


def test_an_iterator_is_a_devset_too(run, echo, questions, exact):
    assert run(Evaluate(iter(questions(150, wrong=75)), exact), echo(turns=1)).score == 50.0


def test_a_devset_is_needed_and_holds_an_example(run, echo, exact):
    with pytest.raises(ConfigurationError, match="no devset"):
        run(Evaluate(metric=exact), echo())
    for empty in [], iter([]):
        with pytest.raises(EvaluationError, match="empty"):
            run(Evaluate(empty, exact), echo())
