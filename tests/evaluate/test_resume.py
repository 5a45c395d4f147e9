"""An evaluation with a run folder repeats no finished example, and mixes with no other evaluation."""

import signal
import subprocess
import textwrap

import pytest

from dspex.app.current import context
from dspex.app.lm import LM
from dspex.core.errors import EvaluationError, JournalError
from dspex.core.example import Example, Prediction
from dspex.core.messages import LMResponse
from dspex.core.usage import Usage
from dspex.evaluate.evaluate import Evaluate
from dspex.program.predict import Predict


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def test_finished_examples_are_not_run_again(run, echo, questions, exact, folder):
    first, second = echo(failing=frozenset(range(6, 40))), echo()
    evaluate = Evaluate(questions(40, wrong=2), exact, num_threads=1, max_errors=3, run_dir=folder)
    with pytest.raises(EvaluationError):
        run(evaluate, first)
    result = run(evaluate, second)
    assert second.started == 34
    assert (result.score, [row.index for row in result.rows]) == (95.0, list(range(40)))
    assert [prediction.answer for _, prediction, _ in result.results] == [str(i) for i in range(40)]
    assert run(evaluate, third := echo()).results == result.results
    assert third.started == 0


def test_a_tilde_is_the_home_of_the_user(run, echo, questions, exact, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run(Evaluate(questions(5), exact, run_dir="~/run"), echo())
    run(Evaluate(questions(5), exact, run_dir=tmp_path / "run"), again := echo())
    assert again.started == 0


def test_failed_examples_are_tried_once_more(run, echo, questions, exact, folder):
    evaluate = Evaluate(questions(5), exact, run_dir=folder)
    assert run(evaluate, echo(failing=frozenset({1}))).score == 80.0
    assert run(evaluate, again := echo()).score == 100.0
    assert again.started == 1


def test_all_of_a_row_comes_back(run, questions, folder):
    async def program(question):
        return Prediction(answer=question, parts=[1, {"a": None}])

    def graded(example, prediction):
        return Prediction(score=0.25, feedback="so so")

    evaluate = Evaluate(questions(2), {"a": graded, "b": graded}, run_dir=folder)
    assert run(evaluate, program).rows == run(evaluate, program).rows


def test_what_a_row_paid_comes_back_too(run, questions, folder):
    class Provider:
        async def complete(self, request):
            return LMResponse.from_text("[[ ## answer ## ]]\n4", Usage(10, 2))

    evaluate = Evaluate(questions(3), lambda example, prediction: 1, run_dir=folder)
    with context(lm=LM("own/m", provider=Provider(), cache=False)):
        before, after = (run(evaluate, Predict("question -> answer")) for _ in range(2))
    assert before.usage == after.usage == Usage(30, 6, calls=3)


def test_a_program_that_returns_no_prediction_is_kept_as_well(run, questions, folder):
    async def bare(question):
        return [question]

    evaluate = Evaluate(questions(2), lambda example, prediction: prediction == [example.answer], run_dir=folder)
    assert [run(evaluate, bare).score for _ in range(2)] == [100.0, 100.0]


async def other(question):
    return Prediction(answer="another program")


def brief(example, prediction):
    return len(prediction.answer) < 3


@pytest.mark.parametrize("what", ["program", "metric", "devset"])
def test_a_folder_of_another_evaluation_is_refused_and_says_which_part_differs(
    run, echo, questions, exact, folder, what
):
    run(Evaluate(questions(5), exact, run_dir=folder), echo())
    changed = {"devset": questions(5, wrong=1)} if what == "devset" else {"metric": brief} if what == "metric" else {}
    with pytest.raises(JournalError, match=rf"another {what}\. Choose another run_dir"):
        run(Evaluate(questions(5), exact, run_dir=folder), other if what == "program" else echo(), **changed)


def test_a_class_whose_code_was_changed_is_another_program(run, questions, exact, folder):
    async def before(self, question):
        return Prediction(answer=question)

    async def after(self, question):
        return Prediction(answer=question + "!")

    run(Evaluate(questions(2), exact, run_dir=folder), type("Program", (), {"acall": before})())
    with pytest.raises(JournalError, match="another program"):
        run(Evaluate(questions(2), exact, run_dir=folder), type("Program", (), {"acall": after})())


def test_another_model_is_another_evaluation(run, questions, folder):
    class Provider:
        async def complete(self, request):
            return LMResponse.from_text("[[ ## answer ## ]]\n4")

    evaluate = Evaluate(questions(2), lambda example, prediction: 1, run_dir=folder)
    with context(lm=LM("own/m", provider=Provider())):
        run(evaluate, Predict("question -> answer"))
    with (
        context(lm=LM("own/m", provider=Provider(), temperature=0.5)),
        pytest.raises(JournalError, match="language model"),
    ):
        run(evaluate, Predict("question -> answer"))


def test_a_devset_without_a_length_is_checked_example_by_example(run, echo, questions, exact, folder):
    run(Evaluate(iter(questions(5)), exact, run_dir=folder), echo())
    assert run(Evaluate(iter(questions(7)), exact, run_dir=folder), more := echo()).score == 100.0
    assert more.started == 2
    swapped = [*questions(3), Example(question="9", answer="9").with_inputs("question")]
    with pytest.raises(JournalError, match="its example 3 was not"):
        run(Evaluate(iter(swapped), exact, run_dir=folder), echo())


async def test_two_evaluations_cannot_share_a_folder_at_once(echo, questions, exact, folder):
    stream = Evaluate(questions(5), exact, run_dir=folder).stream(echo())
    await anext(stream)
    with pytest.raises(JournalError, match="in use by process"):
        await Evaluate(questions(5), exact, run_dir=folder).acall(echo())
    await stream.aclose()
    assert (await Evaluate(questions(5), exact, run_dir=folder).acall(echo())).score == 100.0


def test_a_prediction_that_json_has_no_form_for_is_refused_at_the_first(run, questions, exact, folder):
    async def program(question):
        return Prediction(answer=question, handle=object())

    with pytest.raises(EvaluationError, match=r"run_dir cannot keep example 0: .*object"):
        run(Evaluate(questions(50), exact, num_threads=1, run_dir=folder), program)


KILLED = """
    import asyncio, os, sys
    from dspex.core.example import Example, Prediction
    from dspex.evaluate.evaluate import Evaluate
    folder, limit = sys.argv[1], int(sys.argv[2])
    started = []

    async def program(question):
        started.append(question)
        await asyncio.sleep(0)
        if len(started) > limit:
            os.kill(os.getpid(), 9)
        return Prediction(answer=question)

    def exact(example, prediction):
        return example.answer == prediction.answer

    devset = [Example(question=str(i), answer=str(i % 7)).with_inputs("question") for i in range(60)]
    result = asyncio.run(Evaluate(devset, exact, num_threads=4, run_dir=folder).acall(program))
    print(len(started), result.score, [row.index for row in result.rows] == list(range(60)))
"""


def test_a_killed_evaluation_goes_on_and_repeats_at_most_what_was_in_flight(warm, folder, tmp_path):
    def started(limit: int) -> subprocess.CompletedProcess:
        return warm.run("-c", textwrap.dedent(KILLED), folder, limit, cwd=tmp_path)

    assert started(25).returncode == -signal.SIGKILL
    ran, score, is_whole = started(1000).stdout.split()
    assert 60 - 25 <= int(ran) <= 60 - 25 + 4
    assert (score, is_whole) == ("11.67", "True")
