"""Metrics that are heavy run in other processes; what cannot go there is told at once."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from dspex.core.errors import ConfigurationError, EvaluationError
from dspex.core.example import Example, Prediction
from dspex.evaluate.evaluate import Evaluate
from dspex.evaluate.metrics import answer_exact_match
from dspex.evaluate.running import Scorer


def fresh_processes() -> ProcessPoolExecutor:
    # A fork of a process with threads is warned of; in a fresh one the tests' modules are not importable, but dspex is.
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


@pytest.fixture(scope="module")
def processes():
    with fresh_processes() as pool:
        yield pool


def graded(example, prediction):
    return Prediction(score=0.5, feedback=f"in {os.getpid()}")


def test_a_metric_runs_in_another_process(run, echo, questions, processes):
    result = run(Evaluate(questions(6, wrong=3), answer_exact_match, metric_executor=processes), echo())
    assert (result.score, result.failures) == (50.0, [])


def test_a_metric_runs_in_the_threads_of_an_executor_with_its_context(run, echo, questions):
    seen = set()

    def noting(example, prediction):
        seen.add(threading.current_thread().name)
        return 1

    with ThreadPoolExecutor(2, thread_name_prefix="judges") as pool:
        assert run(Evaluate(questions(5), noting, metric_executor=pool), echo()).score == 100.0
    assert {name.split("_")[0] for name in seen} == {"judges"}


def test_a_metric_that_cannot_be_sent_is_refused_before_anything_runs(run, echo, questions, processes):
    program = echo()
    with pytest.raises(ConfigurationError, match="top of an importable module"):
        run(Evaluate(questions(2), lambda example, prediction: 1, metric_executor=processes), program)
    assert program.started == 0


async def waiting(example, prediction):
    return 1


@pytest.mark.parametrize(
    ("metric", "executor"), [(waiting, ThreadPoolExecutor(1)), (graded, "processes")], ids=["async", "no executor"]
)
def test_an_executor_that_is_none_or_of_no_use_is_refused(metric, executor):
    with pytest.raises(ConfigurationError, match="metric_executor"):
        Scorer(metric, executor)


def test_a_prediction_that_cannot_be_sent_is_a_failure_that_says_so(run, questions, processes):
    async def program(question):
        return Prediction(answer=question, handle=threading.Lock() if question == "1" else None)

    result = run(Evaluate(questions(3), answer_exact_match, metric_executor=processes), program)
    assert [row.index for row in result.failures] == [1]
    assert "cannot be sent to a process of the metric_executor: TypeError" in result.failures[0].error


async def test_what_a_metric_raises_there_is_its_own_error(processes):
    with pytest.raises(AttributeError, match="answer"):
        await Scorer(answer_exact_match, processes)(Example(question="?"), Prediction(answer="1"))


class Deadly:
    """Ends the process that reads it."""

    def __reduce__(self):
        return os._exit, (3,)


def test_a_metric_that_kills_its_process_ends_the_evaluation(run, questions):
    async def program(question):
        return Prediction(answer=question, extra=Deadly())

    with fresh_processes() as pool, pytest.raises(EvaluationError, match="metric_executor died") as caught:
        run(Evaluate(questions(50), answer_exact_match, metric_executor=pool, num_threads=1), program)
    assert caught.value.results == []
