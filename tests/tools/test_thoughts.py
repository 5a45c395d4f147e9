"""What a model thought before its calls: kept where the calls are kept, shown to nobody else, absent from old data."""

import io
import json

import msgspec
import pytest

import dspex
from dspex.app.history import HistoryEntry
from dspex.core.dictionaries import to_dictionaries, to_message
from dspex.core.messages import Choice, LMDelta, LMRequest, LMResponse, Message, Text, Thought, ToolCall
from dspex.plugin import Capabilities
from dspex.service.ledger import prompt_tokens
from dspex.service.pieces import whole

THOUGHT = Thought("sealed " * 100, "my/model")
CALL = ToolCall("c1", "add", '{"x":1}')
TURN = Message("assistant", (THOUGHT, Text("Well."), CALL))
REPLY = LMResponse((Choice("", (CALL,), "tool_calls", thoughts=(THOUGHT,)),))
TALKS = dspex.Signature("history: dspex.History, question, tools: list[dspex.Tool] -> tool_calls: dspex.ToolCalls")


def add(x: int) -> int:
    """Adds."""
    return x + 1


class Script:
    capabilities = Capabilities(chat=True, tools=True)

    def __init__(self):
        self.asked = []

    async def complete(self, request):
        self.asked.append(request)
        return REPLY


@pytest.fixture
def script():
    return Script()


@pytest.fixture
def lm(script):
    return dspex.LM("my/model", provider=script, num_retries=0)


def talk(lm, turns, demos=()):
    program = dspex.Predict(TALKS)
    program.demos = list(demos)
    with dspex.context(lm=lm, adapter=dspex.JSONAdapter()):
        return program(history=dspex.History(messages=turns), question="And 2?", tools=[dspex.Tool(add)]).tool_calls


def thoughts(request):
    return [part for message in request.messages for part in message.parts if isinstance(part, Thought)]


def test_calls_that_are_saved_and_loaded_keep_their_thoughts(lm, script):
    first = talk(lm, [])
    assert first.thoughts == (THOUGHT,)
    loaded = json.loads(json.dumps(dspex.History(messages=[{"question": "1?", "tool_calls": first}]).toDict()))
    talk(lm, loaded["messages"])
    assert thoughts(script.asked[-1]) == [THOUGHT]
    assert dspex.ToolCalls.from_plain(first.toDict()) == first


def test_a_demo_has_none_as_it_is_of_another_conversation(lm, script):
    demo = dspex.Example(question="1?", tool_calls=talk(lm, [])).with_inputs("question")
    talk(lm, [], [demo])
    assert any(
        CALL.name == part.name for one in script.asked[-1].messages for part in one.parts if type(part) is ToolCall
    )
    assert thoughts(script.asked[-1]) == []


def test_calls_without_thoughts_are_written_as_ever():
    calls = dspex.ToolCalls.from_dict_list([{"name": "add", "args": {"x": 1}}])
    assert calls.toDict() == {"tool_calls": [{"name": "add", "args": {"x": 1}}]}
    assert calls.format() == {"tool_calls": [{"name": "add", "args": {"x": 1}}]}


def test_what_was_written_before_there_were_thoughts_is_read():
    old = {
        "choices": [{"text": "", "tool_calls": [{"type": "tool_call", "id": "c1", "name": "add", "arguments": "{}"}]}]
    }
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(old), type=LMResponse).choices[0].thoughts == ()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(REPLY), type=LMResponse) == REPLY
    assert msgspec.json.decode(msgspec.json.encode(TURN), type=Message) == TURN


def test_the_last_piece_of_a_reply_has_its_thoughts():
    assert whole([LMDelta("", reasoning="Hm."), LMDelta.last_of(REPLY)]).choices[0].thoughts == (THOUGHT,)


def test_dictionaries_take_thoughts_and_show_them_to_no_server():
    [turn] = to_dictionaries(TURN)
    assert turn.keys() == {"role", "content", "tool_calls"}
    assert to_message({**turn, "thoughts": [{"data": THOUGHT.data, "maker": THOUGHT.maker}]}) == TURN
    with pytest.raises(dspex.ConfigurationError, match="maker"):
        to_message({**turn, "thoughts": [{"data": "x"}]})


def test_a_call_of_an_lm_gives_thoughts_that_a_later_message_takes(lm, script):
    [first] = lm("1?", tools=[dspex.Tool(add).definition])
    calls = [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}]
    turn = {"role": "assistant", "content": None, "tool_calls": calls, "thoughts": first["thoughts"]}
    lm(messages=[{"role": "user", "content": "1?"}, turn, {"role": "tool", "tool_call_id": "c1", "content": "2"}])
    assert thoughts(script.asked[-1]) == [THOUGHT]


def test_thoughts_count_as_a_prompts_tokens():
    bare = LMRequest("m", (Message("assistant", (CALL,)),))
    thought = LMRequest("m", (Message("assistant", (THOUGHT, CALL)),))
    assert prompt_tokens(thought) - prompt_tokens(bare) == len(THOUGHT.data) // 3


def test_a_history_tells_of_thoughts_and_does_not_print_them(lm):
    calls = [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}]
    given = [{"data": THOUGHT.data, "maker": THOUGHT.maker}]
    turn = {"role": "assistant", "content": None, "tool_calls": calls, "thoughts": given}
    lm(messages=[{"role": "user", "content": "1?"}, turn, {"role": "tool", "tool_call_id": "c1", "content": "2"}])
    told = io.StringIO()
    dspex.inspect_history(file=told)
    assert "<thought of my/model, 700 characters>" in told.getvalue()
    assert "sealed" not in told.getvalue()
    size = HistoryEntry("m", LMRequest("m", (TURN,)), REPLY, 0.0).size
    assert size == len("Well.") + len("c1add") + len('{"x":1}') + 2 * len(THOUGHT.data + THOUGHT.maker)
