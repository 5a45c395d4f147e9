"""A reply that does not parse is asked for again, with itself and the fault shown; a setting bounds what that costs."""

from typing import Any

import pytest

import dspex
from dspex.plugin import Capabilities, Choice, LMRequest, LMResponse

GOOD = "[[ ## answer ## ]]\n4\n\n[[ ## completed ## ]]"


class Script:
    """Answers from a list, ten tokens in and five out a call, and keeps what it was asked."""

    capabilities = Capabilities(chat=True, n=True)

    def __init__(self, *texts: str) -> None:
        self.texts = iter(texts)
        self.asked: list[LMRequest] = []

    async def complete(self, request: LMRequest) -> LMResponse:
        self.asked.append(request)
        return LMResponse(tuple(Choice(next(self.texts)) for _ in range(request.n)), dspex.Usage(10, 5))


def ask(script: Script, adapter: Any = None, config: Any = (), **settings: Any) -> Any:
    lm = dspex.LM("acme/one", provider=script, cache=False, num_retries=0)
    with dspex.context(lm=lm, adapter=adapter, **settings):
        return dspex.Predict("question -> answer: int", **dict(config))(question="2 + 2?")


def test_the_second_call_shows_the_reply_and_the_fault_and_is_in_json_form():
    script = Script("It is four.", '{"answer": 4}')
    assert ask(script).answer == 4
    first, second = (request.messages for request in script.asked)
    assert second[: len(first)] == first
    said, told = second[len(first) :]
    assert (said.role, said.text, told.role) == ("assistant", "It is four.", "user")
    assert "field `answer`: it is missing" in told.text
    assert "one JSON object" in told.text


@pytest.mark.parametrize("kind", [dspex.ChatAdapter, dspex.XMLAdapter])
def test_a_second_reply_may_keep_to_the_first_form(kind):
    script = Script("It is four.", kind().format_fields({"answer": 4}))
    assert ask(script, kind()).answer == 4
    assert len(script.asked) == 2


def test_of_a_second_reply_in_the_first_form_the_wrong_value_is_told():
    with pytest.raises(dspex.AdapterParseError, match="expected an integer, got 'five'") as caught:
        ask(Script("It is four.", dspex.ChatAdapter().format_fields({"answer": "five"})), dspex.ChatAdapter())
    assert (caught.value.field, caught.value.reason) == ("answer", "value")


@pytest.mark.parametrize("kind", [dspex.ChatAdapter, dspex.XMLAdapter])
def test_or_in_the_adapters_own_form(kind):
    adapter = kind(use_json_adapter_fallback=False)
    script = Script("It is four.", adapter.format_fields({"answer": 4}))
    assert ask(script, adapter).answer == 4
    assert "JSON" not in script.asked[1].messages[-1].text


@pytest.mark.parametrize(("reasks", "calls"), [(0, 1), (1, 2), (2, 3)])
def test_a_setting_bounds_the_calls(reasks, calls):
    script = Script(*["nothing"] * 5)
    with pytest.raises(dspex.AdapterParseError):
        ask(script, max_reasks=reasks)
    assert len(script.asked) == calls


def test_a_third_call_shows_what_the_second_said():
    script = Script("first", '{"answer": "second"}', '{"answer": 4}')
    assert ask(script, max_reasks=2).answer == 4
    shown = [message.text for message in script.asked[2].messages if message.role == "assistant"]
    assert shown == ["first", '{"answer": "second"}']


@pytest.mark.parametrize(
    ("reply", "field", "reason"),
    [
        ("four", None, "form"),
        ('{"answer": "four"}', "answer", "value"),
        ('{"other": 4}', "answer", "missing"),
    ],
)
def test_the_error_keeps_completion_field_reason_and_what_all_calls_took(reply, field, reason):
    with pytest.raises(dspex.AdapterParseError) as caught:
        ask(Script("It is 4", reply))
    error = caught.value
    assert (error.lm_response, error.field, error.reason) == (reply, field, reason)
    assert (error.usage.input_tokens, error.usage.output_tokens) == (20, 10)
    assert "asked for again after this" in error.__notes__[0]
    assert "It is 4" in error.__notes__[0]


def test_each_completion_that_does_not_parse_costs_one_call_more():
    script = Script(GOOD, "four", GOOD.replace("4", "5"), '{"answer": 6}')
    assert ask(script, config={"n": 3}).completions.answer == [4, 6, 5]
    assert [request.n for request in script.asked] == [3, 1]


def test_a_budget_that_has_no_call_left_ends_it():
    script = Script("four", '{"answer": 4}')
    with dspex.budget(calls=1) as spent, pytest.raises(dspex.BudgetExceeded):
        ask(script)
    assert (len(script.asked), spent.spent.calls) == (1, 1)


def test_usage_counts_both_calls():
    with dspex.track_usage() as usage:
        ask(Script("four", '{"answer": 4}'))
    assert usage.total.calls == 2


def test_an_adapter_that_cannot_ask_again_does_not():
    class Mute:
        name, version = "mute", 1

        def render(self, signature: Any, demos: Any, inputs: Any) -> Any:
            return dspex.ChatAdapter().render(signature, demos, inputs)

        def parse(self, signature: Any, text: str) -> Any:
            raise dspex.AdapterParseError("not read")

    script = Script("x", "y")
    with pytest.raises(dspex.AdapterParseError, match="not read"):
        ask(script, Mute())
    assert len(script.asked) == 1
