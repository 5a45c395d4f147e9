"""TwoStep: one model answers in free text, another takes the fields out; both calls are paid, counted and bounded."""

from typing import Any

import pytest

import dspex
from dspex.plugin import Choice, LMRequest, LMResponse
from dspex.program.adapters.two_step import TwoStepAdapter
from dspex.program.signature import Signature
from dspex.testing import DummyLM

QA = Signature("question -> answer: int, why", "Add it up.")


class Talker:
    """Answers in free text, and keeps what it was asked."""

    capabilities = dspex.Capabilities(chat=True, n=True)

    def __init__(self, text: str = "Well, two and two are four.", finish_reason: str = "stop") -> None:
        self.text, self.finish_reason = text, finish_reason
        self.asked: list[LMRequest] = []

    async def complete(self, request: LMRequest) -> LMResponse:
        self.asked.append(request)
        choices = tuple(Choice(self.text, finish_reason=self.finish_reason) for _ in range(request.n))
        return LMResponse(choices, dspex.Usage(10, 5))


def talker(**more: Any) -> tuple[Talker, dspex.LM]:
    provider = Talker(**more)
    return provider, dspex.LM("free/talker", provider=provider, cache=False)


def test_the_fields_come_from_the_second_model():
    provider, lm = talker()
    second = DummyLM([{"answer": 4, "why": "two and two"}])
    with dspex.context(lm=lm, adapter=TwoStepAdapter(second)):
        prediction = dspex.Predict(QA)(question="2 + 2?")
    assert (prediction.answer, prediction.why) == (4, "two and two")
    assert "[[" not in provider.asked[0].messages[0].text
    [entry] = second.history
    assert provider.text in entry["messages"][-1]["content"]
    assert "Add it up." in entry["messages"][0]["content"]


async def test_each_completion_is_read_also_in_async_code():
    _, lm = talker()
    second = DummyLM([{"answer": 4, "why": "a"}, {"answer": 5, "why": "b"}])
    with dspex.context(lm=lm, adapter=TwoStepAdapter(second)):
        prediction = await dspex.Predict(QA, n=2).acall(question="2 + 2?")
    assert prediction.completions.answer == [4, 5]


def test_both_calls_count_and_a_budget_stops_the_second():
    _, lm = talker()
    adapter = TwoStepAdapter(DummyLM([{"answer": 4, "why": "a"}] * 2))
    with dspex.context(lm=lm, adapter=adapter):
        with dspex.track_usage() as usage:
            dspex.Predict(QA)(question="2 + 2?")
        assert set(usage.get_total_tokens()) == {"free/talker", "custom/dummy"}
        with dspex.budget(calls=1), pytest.raises(dspex.BudgetExceeded):
            dspex.Predict(QA)(question="3 + 3?")


def test_what_the_second_model_cannot_find_is_an_error_with_the_first_ones_words():
    provider, lm = talker(text="No idea.")
    second = DummyLM([{"other": "x"}] * 3)
    with dspex.context(lm=lm, adapter=TwoStepAdapter(second)), pytest.raises(dspex.AdapterParseError) as caught:
        dspex.Predict(QA)(question="2 + 2?")
    error = caught.value
    assert (error.adapter_name, error.lm_response, error.reason) == ("TwoStepAdapter", "No idea.", "form")
    assert error.usage.input_tokens == 10
    assert (len(provider.asked), len(second.history)) == (1, 2)


def test_a_reply_that_was_cut_is_not_read():
    _, lm = talker(finish_reason="length")
    second = DummyLM([{"answer": 4, "why": "a"}])
    with (
        dspex.context(lm=lm, adapter=TwoStepAdapter(second)),
        pytest.raises(dspex.AdapterParseError, match="max_tokens"),
    ):
        dspex.Predict(QA)(question="2 + 2?")
    assert second.history == []


def test_the_second_step_is_no_part_of_the_programs_trace():
    _, lm = talker()
    adapter = TwoStepAdapter(DummyLM([{"answer": 4, "why": "a"}]))
    predict = dspex.Predict(QA)
    with dspex.context(lm=lm, adapter=adapter, trace=[]) as scope:
        predict(question="2 + 2?")
        assert [step[0] for step in scope.trace] == [predict]


def test_code_that_is_not_async_may_parse():
    adapter = TwoStepAdapter(DummyLM([{"answer": 4, "why": "a"}]))
    assert adapter.parse(QA, "It is four.") == {"answer": 4, "why": "a"}


def test_an_output_may_be_named_as_the_second_steps_input():
    adapter = TwoStepAdapter(DummyLM([{"text": "t", "text_": "u"}]))
    assert adapter.parse(Signature("question -> text, text_"), "free") == {"text": "t", "text_": "u"}
