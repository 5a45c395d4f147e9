"""Several attempts at one task: each another sample, the best by a reward, failures counted anew in each call."""

import asyncio

import pytest

import dspex
from dspex.core.errors import RecursionLimit
from dspex.testing import DummyLM

KINDS = [dspex.BestOfN, dspex.Refine]
ADVICE = {"discussion": "d", "advice": {"self": "Say more.", "predict": "Say more."}}


def longest(inputs, prediction):
    """A longer answer is a better one."""
    return len(prediction.answer)


def answers(kind, *texts):
    """What the LM says: between the attempts of Refine there is advice."""
    said = [{"answer": text} if isinstance(text, str) else text for text in texts]
    if kind is dspex.BestOfN:
        return said
    return [one for text in said for one in (text, ADVICE)]


class Numbered(dspex.Module):
    """Gives the next of its results; an error is raised."""

    def __init__(self, *results):
        self.results = results
        self.calls = []

    def __deepcopy__(self, memo):
        return self

    async def aforward(self, **inputs):
        self.calls.append(inputs)
        result = self.results[len(self.calls) - 1]
        if isinstance(result, BaseException):
            raise result
        return dspex.Prediction(answer=result)


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_of_all_attempts_is_given(run, kind):
    lm = DummyLM(answers(kind, "a", "ccc", "bb"))
    with dspex.context(lm=lm):
        best = run(kind(dspex.Predict("question -> answer"), 3, longest, threshold=9), question="?")
    assert best.answer == "ccc"


@pytest.mark.parametrize("kind", KINDS)
def test_an_attempt_that_reaches_the_threshold_is_the_last(run, kind):
    lm = DummyLM(answers(kind, "a", "bbb", "cccc"))
    with dspex.context(lm=lm):
        best = run(kind(dspex.Predict("question -> answer"), 3, longest, threshold=3), question="?")
    assert best.answer == "bbb"
    assert len(lm.history) == (2 if kind is dspex.BestOfN else 3)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_threshold_all_are_made_and_the_first_of_equals_wins(run, kind):
    program = Numbered("aa", "bb", "c")
    with dspex.context(lm=DummyLM([ADVICE] * 3)):
        assert run(kind(program, 3, longest, None), x=1).answer == "aa"
    assert program.calls == [{"x": 1}] * 3


def test_each_attempt_is_another_sample_at_temperature_one(run, provider):
    script = provider(*[{"answer": text} for text in "abc"])
    predict = dspex.Predict("question -> answer", temperature=0.0)
    lm = script.lm
    with dspex.context(lm=lm):
        run(dspex.BestOfN(predict, 3, lambda inputs, made: 0.0, None), question="?")
    assert [entry["kwargs"]["rollout_id"] for entry in lm.history] == [0, 1, 2]
    assert {request.params["temperature"] for request in script.asked} == {1.0}
    assert predict.config == {"temperature": 0.0}
    assert predict.lm is None


def test_samples_begin_at_the_lms_own(provider):
    script = provider({"answer": "a"}, {"answer": "b"})
    predict = dspex.Predict("question -> answer")
    lm = predict.lm = script.lm.copy(rollout_id=7)
    dspex.BestOfN(predict, 2, longest, None)(question="?")
    assert [entry["kwargs"]["rollout_id"] for entry in lm.history] == [7, 8]


def test_attempts_within_attempts_are_all_other_samples(provider):
    script = provider(*[{"answer": text} for text in "abcd"])
    inner = dspex.BestOfN(dspex.Predict("question -> answer"), 2, lambda inputs, made: 0, None)
    lm = script.lm
    with dspex.context(lm=lm):
        dspex.BestOfN(inner, 2, lambda inputs, made: 0, None)(question="?")
    assert [entry["kwargs"]["rollout_id"] for entry in lm.history] == ["0.0", "0.1", "1.0", "1.1"]


def test_predictors_keep_the_lms_that_they_have(provider):
    class Two(dspex.Module):
        def __init__(self):
            self.first, self.second = dspex.Predict("question -> answer"), dspex.Predict("question -> answer")

        async def aforward(self, question):
            await self.first.acall(question=question)
            return await self.second.acall(question=question)

    program = Two()
    scripts = [provider({"answer": "a"}), provider({"answer": "b"})]
    program.first.lm, program.second.lm = scripts[0].lm, scripts[1].lm
    assert dspex.BestOfN(program, 1, longest, None)(question="?").answer == "b"
    assert [len(script.asked) for script in scripts] == [1, 1]


# Rewards


class Judge(dspex.Module):
    def __init__(self):
        self.grade = dspex.Predict("answer -> score: int")

    async def aforward(self, inputs, prediction):
        return (await self.grade.acall(answer=prediction.answer)).score


async def in_time(inputs, prediction):
    return longest(inputs, prediction)


@pytest.mark.parametrize("reward", [longest, in_time, lambda inputs, made: dspex.Prediction(score=len(made.answer))])
def test_a_reward_is_a_function_of_any_kind(run, reward):
    assert run(dspex.BestOfN(Numbered("a", "bb"), 2, reward, None)).answer == "bb"


def test_a_module_may_judge_and_is_no_part(run):
    best = dspex.BestOfN(Numbered("a", "bb"), 2, Judge(), None)
    assert best.named_predictors() == []
    with dspex.context(lm=DummyLM([{"score": 1}, {"score": 2}])):
        assert run(best).answer == "bb"


@pytest.mark.parametrize("given", [None, float("nan"), "high"], ids=["none", "nan", "text"])
def test_a_reward_that_is_no_number_is_a_failed_attempt(run, given):
    def reward(inputs, prediction):
        return given

    with pytest.raises(dspex.EvaluationError, match=r"'reward' gave .*no number"):
        run(dspex.BestOfN(Numbered("a", "b"), 2, reward, None))


def test_a_reward_cannot_change_the_inputs_of_later_attempts(run):
    program = Numbered("a", "b")
    run(dspex.BestOfN(program, 2, lambda inputs, made: inputs.clear() or 0, None), x=1)
    assert program.calls == [{"x": 1}, {"x": 1}]


# Failures


@pytest.mark.parametrize("kind", KINDS)
def test_failures_up_to_fail_count_are_borne(run, kind):
    with dspex.context(lm=DummyLM([ADVICE])):
        assert run(kind(Numbered(ValueError("1"), "a", ValueError("2")), 3, longest, None, fail_count=2)).answer == "a"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fail_count", [0, 1])
def test_one_failure_more_raises_its_own_error(run, kind, fail_count):
    program = Numbered(KeyError("first"), KeyError("second"), "a")
    with pytest.raises(KeyError, match=["first", "second"][fail_count]):
        run(kind(program, 3, longest, None, fail_count=fail_count))
    assert len(program.calls) == fail_count + 1


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_failures_raises_the_last(run, kind):
    with pytest.raises(ValueError, match="2"):
        run(kind(Numbered(ValueError("1"), ValueError("2")), 2, longest, None))


@pytest.mark.parametrize("kind", KINDS)
def test_failures_of_one_call_are_not_those_of_the_next(run, kind):
    best = kind(Numbered(*[ValueError("x"), "a"] * 3), 2, longest, None, fail_count=1)
    assert [run(best).answer for _ in range(3)] == ["a"] * 3
    assert best.fail_count == 1


@pytest.mark.parametrize(
    "error", [dspex.BudgetExceeded("spent"), RecursionLimit("deep"), dspex.ConfigurationError("no LM")]
)
def test_what_no_attempt_can_mend_ends_it_at_once(run, error):
    program = Numbered("a", error, "b")
    with pytest.raises(type(error)):
        run(dspex.BestOfN(program, 3, longest, None))
    assert len(program.calls) == 2


def test_a_budget_around_it_is_a_wall(run):
    best = dspex.BestOfN(dspex.Predict("question -> answer"), 5, longest, None)
    lm = DummyLM([{"answer": "a"}] * 9)
    with dspex.context(lm=lm), dspex.budget(calls=2) as budget, pytest.raises(dspex.BudgetExceeded):
        run(best, question="?")
    assert budget.spent.calls == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((dspex.Predict("a -> b"), 0, longest, None), "at least one attempt"),
        ((dspex.Predict("a -> b"), 1, longest, None, -1), "no failures below 0"),
        ((longest, 1, longest, None), "dspex.Module, not with a function"),
        ((dspex.Predict("a -> b"), 1, 0.5, None), "reward function is called"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_arguments_that_cannot_be_meant_are_refused(kind, arguments, said):
    with pytest.raises(dspex.ConfigurationError, match=said):
        kind(*arguments)


# Traces and streams


@pytest.mark.parametrize("kind", KINDS)
def test_the_trace_is_that_of_the_best_attempt_and_of_the_modules_own_predictors(run, kind):
    predict, trace = dspex.Predict("question -> answer"), []
    with dspex.context(lm=DummyLM(answers(kind, "a", "ccc", "bb")), trace=trace):
        run(kind(predict, 3, longest, None), question="?")
    [(predictor, inputs, prediction)] = trace
    assert predictor is predict
    assert inputs == {"question": "?"}
    assert prediction.answer == "ccc"


@pytest.mark.parametrize("kind", KINDS)
async def test_only_the_attempt_that_counts_is_heard(kind):
    program = kind(dspex.ChainOfThought("question -> answer"), 3, longest, None)
    said = [{"reasoning": f"r{text}", "answer": text} for text in ("a", "ccc", "bb")]
    streamed = dspex.streamify(program, stream_listeners=[dspex.streaming.StreamListener("answer")])
    with dspex.context(lm=DummyLM(answers(kind, *said))):
        items = [item async for item in streamed(question="?")]
    *chunks, last = items
    assert "".join(chunk.chunk for chunk in chunks) == last.answer == "ccc"
    assert chunks[-1].is_last_chunk


async def test_a_cancelled_call_leaves_nothing_running(provider):
    script = provider({"answer": "a"}, None)
    with dspex.context(lm=script.lm):
        task = asyncio.create_task(dspex.BestOfN(dspex.Predict("x -> answer"), 3, longest, None).acall(x=1))
        await script.entered()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert script.ended == 2
    assert len(script.asked) == 2
