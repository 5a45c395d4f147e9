"""Tools as the provider's own functions: what leaves the prompt, and what comes back beside the text."""

import warnings
from typing import Any

import pytest

import dspex
from dspex.core.messages import Choice, LMRequest, LMResponse, Message, Text, ToolCall, ToolResult
from dspex.plugin import Capabilities
from dspex.program.native import native_plan


def add(x: int, y: int = 2) -> int:
    """Adds."""
    return x + y


ADD = dspex.Tool(add)
WIRE = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {
            "type": "object",
            "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 2}},
            "required": ["x"],
        },
    },
}
CALLS = dspex.ToolCalls.from_dict_list([{"name": "add", "args": {"x": 1}}])
ASKS = dspex.Signature("question, tools: list[dspex.Tool] -> thought, tool_calls: dspex.ToolCalls")
ONLY = dspex.Signature("question, tools: list[dspex.Tool] -> tool_calls: dspex.ToolCalls")
TALKS = dspex.Signature(
    "history: dspex.History, question, tools: list[dspex.Tool] -> thought, tool_calls: dspex.ToolCalls"
)
ADAPTERS = [
    dspex.ChatAdapter(use_native_function_calling=True),
    dspex.JSONAdapter(),
    dspex.XMLAdapter(use_native_function_calling=True),
]
NAMES = ["chat", "json", "xml"]


class Script:
    """A provider that answers from a list and keeps what it was asked."""

    def __init__(self, *replies: Choice, **known: Any) -> None:
        self.capabilities = Capabilities(**{"chat": True, "tools": True, **known})
        self.replies = list(replies)
        self.asked: list[LMRequest] = []

    async def complete(self, request: LMRequest) -> LMResponse:
        self.asked.append(request)
        return LMResponse((self.replies.pop(0),))


def call(arguments: str, text: str = "", finish: str = "tool_calls") -> Choice:
    return Choice(text, (ToolCall("c1", "add", arguments),), finish)


def predict(script: Script, signature: Any, adapter: Any, demos: Any = (), **inputs: Any) -> dspex.Prediction:
    program = dspex.Predict(signature)
    program.demos = list(demos)
    with dspex.context(lm=dspex.LM("m", provider=script, cache=False, num_retries=0), adapter=adapter):
        return program(question="1+2?", tools=[ADD], **inputs)


def text_of(request: LMRequest) -> str:
    return "\n".join(message.text for message in request.messages)


# What is asked


@pytest.mark.parametrize("adapter", ADAPTERS, ids=NAMES)
@pytest.mark.parametrize("signature", [ASKS, ONLY], ids=["with a thought", "only calls"])
def test_tools_and_calls_leave_the_prompt(adapter, signature):
    script = Script(call('{"x": 1}'))
    found = predict(script, signature, adapter)
    assert found.tool_calls.tool_calls[0] == dspex.ToolCalls.ToolCall("add", {"x": 1}, "c1")
    assert found.tool_calls.execute([ADD]).tool_call_results[0].value == 3
    [request] = script.asked
    assert request.tools == (WIRE,)
    assert "parallel_tool_calls" not in request.params
    text = text_of(request)
    assert "1+2?" in text
    assert "tool_calls" not in text
    assert "`tools`" not in text
    assert "Call the tools" in text


@pytest.mark.parametrize("adapter", ADAPTERS, ids=NAMES)
def test_where_only_calls_are_wanted_no_form_of_a_text_is(adapter):
    script = Script(call("{}"))
    predict(script, ONLY, adapter)
    text = text_of(script.asked[0])
    for form in ("completed", "Reply", "JSON object and nothing else", "You produce"):
        assert form not in text


def test_the_instructions_of_the_user_stay():
    script = Script(call("{}"))
    predict(script, ASKS.with_instructions("Count."), ADAPTERS[0])
    assert text_of(script.asked[0]).count("Count.") == 1
    assert "Call the tools" not in text_of(script.asked[0])


@pytest.mark.parametrize("parallel", [True, False])
def test_whether_calls_may_come_together_is_a_parameter(parallel):
    script = Script(call("{}"), call("{}"))
    adapter = dspex.JSONAdapter(parallel_tool_calls=parallel)
    predict(script, ASKS, adapter)
    assert script.asked[0].params["parallel_tool_calls"] is parallel
    with dspex.context(lm=dspex.LM("m", provider=script, cache=False), adapter=adapter):
        dspex.Predict(ASKS)(question="?", tools=[])
    assert script.asked[1].tools == ()
    assert "parallel_tool_calls" not in script.asked[1].params


def test_two_tools_of_one_name_are_an_error_before_anything_is_sent():
    script = Script()
    with (
        dspex.context(lm=dspex.LM("m", provider=script), adapter=ADAPTERS[0]),
        pytest.raises(dspex.ConfigurationError, match="Two tools bear the name 'add'"),
    ):
        dspex.Predict(ASKS)(question="?", tools=[ADD, ADD])
    assert not script.asked


@pytest.mark.parametrize(
    ("flag", "can", "natively", "warned"),
    [
        (True, True, True, False),
        (True, None, True, False),
        (True, False, False, True),
        (None, True, True, False),
        (None, None, False, False),
        (None, False, False, False),
        (False, True, False, False),
    ],
)
def test_flag_and_capability_decide(flag, can, natively, warned):
    signature = dspex.Signature(f"question{can}, tools: list[dspex.Tool] -> calls{flag}: dspex.ToolCalls")
    adapter = dspex.JSONAdapter(use_native_function_calling=flag)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        plans = [native_plan(signature.compiled, adapter, Capabilities(tools=can)) for _ in range(3)]
    assert (plans[0] is not None) is natively
    assert plans[0] is plans[1] is plans[2]
    assert len(told) == (1 if warned else 0)


@pytest.mark.parametrize(
    "text",
    ["question -> answer", "question, tools: list[dspex.Tool] -> answer", "question -> calls: dspex.ToolCalls"],
)
def test_a_signature_without_both_tools_and_calls_has_no_plan(text):
    assert native_plan(dspex.Signature(text).compiled, ADAPTERS[0], Capabilities(tools=True)) is None


def test_the_choice_of_an_adapter_says_what_goes_natively():
    program = dspex.Predict(ASKS)
    with dspex.context(adapter=ADAPTERS[0]):
        known = program.adapter_choice(dspex.LM("m", provider=Script()))
        unable = dspex.LM("m", provider=Script(tools=None))
        assert known.reason.endswith("natively: tools, tool_calls")
    with dspex.context(adapter="json"):
        assert "natively" not in program.adapter_choice(unable).reason


# What comes back


@pytest.mark.parametrize(
    ("text", "thought"),
    [
        ("[[ ## thought ## ]]\neasy\n\n[[ ## completed ## ]]", "easy"),
        ("Let me see.", None),
        ("", None),
    ],
)
def test_text_beside_a_call_may_have_the_other_fields_or_none(text, thought):
    found = predict(Script(call('{"x": 1}', text)), ASKS, ADAPTERS[0])
    assert found.thought == thought
    assert len(found.tool_calls) == 1


def test_a_reply_without_a_call_has_none():
    script = Script(Choice('{"thought": "I know it."}'))
    found = predict(script, ASKS, ADAPTERS[1])
    assert found.thought == "I know it."
    assert found.tool_calls == dspex.ToolCalls()


def test_a_reply_without_a_call_and_in_no_form_is_asked_for_again():
    script = Script(Choice("I know it."), Choice('{"thought": "I know it."}'))
    assert predict(script, ASKS, ADAPTERS[0]).thought == "I know it."
    assert script.asked[1].tools == (WIRE,)


def test_calls_that_may_be_absent_are_none():
    signature = dspex.Signature("question, tools: list[dspex.Tool] -> tool_calls: dspex.ToolCalls | None")
    assert predict(Script(Choice("no")), signature, ADAPTERS[0]).tool_calls is None


@pytest.mark.fault("B09")
@pytest.mark.parametrize("adapter", ADAPTERS, ids=NAMES)
@pytest.mark.parametrize("arguments", ['{"x": 1', "x=1", "[1]", "5", '{"x": 1, "x": 2}', "[" * 100_000])
def test_arguments_that_cannot_be_read_are_told_to_the_model_once(adapter, arguments):
    script = Script(call(arguments, "Wait."), call('{"x": 1}'))
    assert predict(script, ASKS, adapter).tool_calls.tool_calls[0].args == {"x": 1}
    first, second = script.asked
    *before, said, told = second.messages
    assert tuple(before) == first.messages
    assert second.tools == first.tools
    assert said.role == "assistant"
    assert said.text.startswith("Wait.\nadd(")
    assert "'add' with arguments that cannot be read" in told.text
    assert len(told.text) < 1_000


@pytest.mark.fault("B09")
def test_arguments_that_stay_unreadable_are_an_error():
    with pytest.raises(dspex.AdapterParseError, match="arguments that cannot be read") as caught:
        predict(Script(call("x"), call("y")), ASKS, ADAPTERS[0])
    assert caught.value.field == "tool_calls"
    assert caught.value.lm_response == "add(y)"


def test_a_call_cut_by_max_tokens_is_not_asked_for_again():
    script = Script(call('{"x": ', finish="length"))
    with pytest.raises(dspex.AdapterParseError, match="max_tokens") as caught:
        predict(script, ONLY, ADAPTERS[0])
    assert caught.value.reason == "length"
    assert len(script.asked) == 1


def test_no_arguments_are_none():
    assert predict(Script(call("")), ONLY, ADAPTERS[0]).tool_calls.tool_calls[0].args == {}


@pytest.mark.fault("B10")
def test_two_calls_of_one_id_are_kept_apart():
    asked = [("c", '{"x": 1}'), ("c", '{"x": 2}'), ("", "{}")]
    script = Script(Choice("", tuple(ToolCall(id_, "add", arguments) for id_, arguments in asked)))
    calls = predict(script, ONLY, ADAPTERS[0]).tool_calls.tool_calls
    assert [one.args.get("x") for one in calls] == [1, 2, None]
    assert len({one.id for one in calls}) == 3


def test_one_tool_alone_is_a_tool_too():
    signature = dspex.Signature("question, tools: dspex.Tool -> tool_calls: dspex.ToolCalls")
    script = Script(call("{}"))
    with dspex.context(lm=dspex.LM("m", provider=script, cache=False), adapter=ADAPTERS[0]):
        dspex.Predict(signature)(question="?", tools=ADD)
    assert script.asked[0].tools == (WIRE,)


def test_several_completions_have_their_own_calls():
    class Two(Script):
        async def complete(self, request: LMRequest) -> LMResponse:
            return LMResponse((call('{"x": 1}'), call('{"x": 2}')))

    program = dspex.Predict(ONLY, n=2)
    with dspex.context(lm=dspex.LM("m", provider=Two(n=True), cache=False), adapter=ADAPTERS[0]):
        found = program(question="?", tools=[ADD])
    assert [one.tool_calls.tool_calls[0].args["x"] for one in found.completions] == [1, 2]


# Reasoning

THINKS = dspex.Signature("question -> reasoning: dspex.Reasoning, answer")


def think(script: Script, adapter: Any) -> dspex.Prediction:
    with dspex.context(lm=dspex.LM("m", provider=script, cache=False), adapter=adapter):
        return dspex.Predict(THINKS)(question="1+2?")


def test_what_the_model_thought_fills_a_reasoning_output():
    script = Script(Choice('{"answer": "3"}', reasoning="one and two"), reasoning=True)
    found = think(script, dspex.JSONAdapter())
    assert (found.reasoning, found.answer) == ("one and two", "3")
    assert isinstance(found.reasoning, dspex.Reasoning)
    assert "`reasoning`" not in text_of(script.asked[0])


def test_thoughts_that_are_not_shown_are_empty():
    assert think(Script(Choice('{"answer": "3"}'), reasoning=True), dspex.JSONAdapter()).reasoning == ""


@pytest.mark.parametrize(("types", "known"), [(None, None), (None, False), ([], True)])
def test_else_the_reasoning_is_asked_for_in_the_text(types, known):
    reply = "[[ ## reasoning ## ]]\nsum\n\n[[ ## answer ## ]]\n3\n\n[[ ## completed ## ]]"
    script = Script(Choice(reply, reasoning="hidden"), reasoning=known)
    assert think(script, dspex.ChatAdapter(native_response_types=types)).reasoning == "sum"


# Demos and earlier turns


def test_a_demos_calls_are_turns_of_the_providers():
    demos = [
        dspex.Example(question="5+6?", tools=[ADD], thought="add", tool_calls=CALLS),
        {"question": "7+8?", "tools": [], "thought": None, "tool_calls": CALLS.toDict()},
        {"question": "Hi!", "tools": [], "thought": "hello", "tool_calls": {"tool_calls": []}},
    ]
    script = Script(call("{}"))
    predict(script, ASKS, ADAPTERS[1], demos)
    turns = script.asked[0].messages[1:-1]
    shown = {message.parts[-1].id: message for message in turns if message.role == "tool"}
    assert len(shown) == 2
    calls = [part for message in turns for part in message.parts if isinstance(part, ToolCall)]
    assert [one.arguments for one in calls] == ['{"x":1}', '{"x":1}']
    assert [one.id for one in calls] == list(shown)
    texts = [message.text for message in turns if message.role == "assistant"]
    assert sorted(texts) == ["", '{"thought":"add"}', '{"thought":"hello"}']
    assert all("tools" not in message.text for message in turns)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=NAMES)
def test_earlier_calls_and_what_came_of_them_are_turns_of_the_providers(adapter):
    called = dspex.ToolCalls(tool_calls=[dspex.ToolCalls.ToolCall("add", {"x": 1}, "c7")])
    history = dspex.History(
        messages=[
            {"question": "5+6?", "thought": "add", "tool_calls": called, "tool_call_results": called.execute([ADD])},
            {"tool_calls": dspex.ToolCalls(tool_calls=CALLS.tool_calls, tool_call_results=CALLS.execute([len]))},
            {"thought": "done"},
        ]
    )
    script = Script(call("{}"))
    predict(script, TALKS, adapter, history=history)
    system, asked, first, came, second, failed, third, _ = script.asked[0].messages
    assert [one.role for one in (system, asked, first, came, second, failed, third)] == (
        ["system", "user", "assistant", "tool", "assistant", "tool", "assistant"]
    )
    assert "5+6?" in asked.text
    assert "add" in first.text
    assert first.parts[-1] == ToolCall("c7", "add", '{"x":1}')
    assert came.parts == (ToolResult("c7", "3"),)
    assert second.parts == (ToolCall(failed.parts[0].id, "add", '{"x":1}'),)
    assert failed.parts[0].is_error
    assert "no tool 'add'" in failed.parts[0].text
    assert "done" in third.text


def test_a_demos_ids_are_its_own():
    same = dspex.ToolCalls(tool_calls=[dspex.ToolCalls.ToolCall("add", {"x": 1}, "c1")])
    known = dspex.ToolCalls(tool_calls=same.tool_calls, tool_call_results=same.execute([ADD]))
    demos = [{"question": "?", "tools": [], "thought": "t", "tool_calls": one} for one in (same, known)]
    script = Script(call("{}"))
    predict(script, ASKS, ADAPTERS[1], demos)
    results = [part for message in script.asked[0].messages for part in message.parts if isinstance(part, ToolResult)]
    assert len({one.id for one in results}) == 2
    assert [one.text for one in results] == ["(not shown)", "3"]


def test_a_conversation_may_end_with_what_came_of_a_call():
    signature = dspex.Signature("history: dspex.History, tools: list[dspex.Tool] -> tool_calls: dspex.ToolCalls")
    script = Script(call("{}"))
    with dspex.context(lm=dspex.LM("m", provider=script, cache=False), adapter=ADAPTERS[0]):
        turns = [{"tool_calls": CALLS, "tool_call_results": CALLS.execute([ADD])}]
        dspex.Predict(signature)(history=dspex.History(messages=turns), tools=[ADD])
    assert [message.role for message in script.asked[0].messages] == ["system", "assistant", "tool"]


@pytest.mark.parametrize("adapter", [dspex.ChatAdapter(), dspex.XMLAdapter()], ids=["chat", "xml"])
def test_in_text_what_came_of_earlier_calls_is_told_by_the_user(adapter):
    history = dspex.History(
        messages=[
            {"question": "5+6?", "thought": "add", "tool_calls": CALLS, "tool_call_results": CALLS.execute([ADD])}
        ]
    )
    reply = adapter.format_assistant_message_content(TALKS, {"thought": "hm", "tool_calls": CALLS})
    script = Script(Choice(reply))
    demo = {"history": None, "question": "7+8?", "tools": [ADD], "thought": "add", "tool_calls": CALLS}
    assert predict(script, TALKS, adapter, [demo], history=history).tool_calls == CALLS
    request = script.asked[0]
    assert request.tools == ()
    _, shown, _, _, said, told, _ = request.messages
    assert "7+8?" in shown.text
    assert '"tool_calls"' in said.text
    assert told == Message("user", (Text('What came of the calls:\n[{"name":"add","value":3}]'),))
