"""bootstrap_trace_data: runs with what each predictor was given and made, as fine-tuning needs them."""

import pytest

import dspex
from dspex.engine.trace_data import FailedPrediction
from dspex.plugin import LMResponse


class Two(dspex.Module):
    def __init__(self):
        super().__init__()
        self.first = dspex.Predict("question -> answer")

    async def aforward(self, question):
        if question == "n=3":
            raise ZeroDivisionError("a slip")
        return await self.first.acall(question=question)


class Mute:
    """Says nothing that can be read about n=1."""

    def __init__(self, model):
        self.capabilities, self.model = model.capabilities, model

    async def complete(self, request):
        if any("n=1" in message.text for message in request.messages):
            return LMResponse.from_text("no idea")
        return await self.model.complete(request)


@pytest.fixture
def model(lab):
    with dspex.context(lm=dspex.LM("mute", provider=Mute(lab.Model()), cache=False, num_retries=0)):
        yield


async def test_each_run_has_its_trace_and_those_that_failed_are_left_out(lab, app, model):
    data = await dspex.abootstrap_trace_data(Two(), lab.examples(5), lab.right, raise_on_error=False)
    assert [one["example_ind"] for one in data] == [0, 2, 4]
    for one in data:
        [(predictor, inputs, made)] = one["trace"]
        assert inputs == {"question": one["example"].question}
        assert made.answer == one["prediction"].answer
        assert predictor.signature.signature == "question -> answer"
        assert one["score"] == float(one["example"].answer == one["prediction"].answer)


async def test_what_could_not_be_read_is_kept_with_a_reward_if_asked(lab, app, model):
    options = {"capture_failed_parses": True, "capture_crashes": True, "log_format_failures": True}
    with pytest.warns(RuntimeWarning, match="2 of 5 runs gave no prediction"):
        data = await dspex.abootstrap_trace_data(Two(), lab.examples(5), lab.right, **options)
    assert data[1]["prediction"] == FailedPrediction("no idea", -1.0) == data[1]["trace"][-1][2]
    assert data[1]["score"] == -1.0
    assert data[3]["prediction"].completion_text == "ZeroDivisionError: a slip"
    assert (len(data), data[3]["trace"]) == (5, [])


def test_a_failure_is_told_after_the_others_were_run_and_they_are_kept(lab, model):
    with pytest.raises(
        dspex.EvaluationError, match=r"2 of 5 examples failed; the first, example 1: .*no idea"
    ) as caught:
        dspex.bootstrap_trace_data(Two(), lab.examples(5))
    assert [one["example_ind"] for one in caught.value.results] == [0, 2, 4]
    assert "score" not in caught.value.results[0]
