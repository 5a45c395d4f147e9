"""Calls of tools that a provider sends beside the text stream while the model writes them."""

import json

import pytest

import dspex
from dspex.plugin import LMDelta, ProtocolError, ToolCall, ToolCallPiece
from dspex.streaming import FieldDelta, Finished, StreamListener, StreamResponse

CAN_CALL = dspex.Capabilities(chat=True, stream=True, tools=True)


def add(a: int, b: int = 0) -> int:
    """Adds two numbers."""
    return a + b


def now() -> str:
    """Tells the time."""
    return "noon"


def called(index, *pieces, id="", name="add"):
    """A call in pieces: its head, then its arguments."""
    head = LMDelta(tool_call_pieces=(ToolCallPiece(index, id, name),))
    return [head, *(LMDelta(tool_call_pieces=(ToolCallPiece(index, arguments=piece),)) for piece in pieces)]


def ended(*calls):
    return LMDelta("", tuple(ToolCall(*call) for call in calls), "tool_calls")


def lm_of(provider, **options):
    provider.capabilities = CAN_CALL
    return dspex.LM("x/y", provider=provider, **{"cache": False, **options})


def asking():
    return dspex.Predict("question, tools: list[dspex.Tool] -> tool_calls: dspex.ToolCalls")


NATIVE = dspex.ChatAdapter(use_native_function_calling=True)
TOOLS = [dspex.Tool(add), dspex.Tool(now)]
ONE = [*called(0, '{"a"', ": 1", ', "b": 22}', id="c1"), ended(("c1", "add", '{"a": 1, "b": 22}'))]


async def events_of(provider, program=None, **inputs):
    program = program or asking()
    inputs = inputs or {"question": "?", "tools": TOOLS}
    with dspex.context(lm=lm_of(provider), adapter=NATIVE):
        return [event async for event in program.astream(**inputs)]


async def test_the_arguments_of_a_call_come_as_the_model_writes_them(streaming):
    *deltas, last = await events_of(streaming(ONE))
    assert all(isinstance(event, FieldDelta) and event.field == "tool_calls" for event in deltas)
    assert [event.text for event in deltas] == [
        '{"tool_calls":[{"name":"add","id":"c1","args":',
        *('{"a"', ": 1", ', "b": 22}', "}", "]}", ""),
    ]
    assert [event.is_last for event in deltas] == [False] * 6 + [True]
    assert isinstance(last, Finished)
    assert last.prediction.tool_calls.tool_calls[0].id == "c1"


async def test_several_calls_and_one_without_arguments_are_one_text(streaming, texts):
    script = [*called(2, '{"a": 1}'), *called(5, name="now"), ended(("1", "add", '{"a": 1}'), ("2", "now", "{}"))]
    *deltas, last = await events_of(streaming(script))
    assert {event.version for event in deltas} == {0}
    assert json.loads(texts(deltas)["self", "tool_calls"]) == last.prediction.tool_calls.format()


async def test_a_name_in_pieces_is_whole_before_its_arguments(streaming, texts):
    head = [LMDelta(tool_call_pieces=(ToolCallPiece(0, name=part),)) for part in ("a", "d", "d")]
    script = [
        *head,
        LMDelta(tool_call_pieces=(ToolCallPiece(0, arguments='{"a": 1}'),)),
        ended(("", "add", '{"a": 1}')),
    ]
    *deltas, _ = await events_of(streaming(script))
    assert json.loads(texts(deltas)["self", "tool_calls"]) == {"tool_calls": [{"name": "add", "args": {"a": 1}}]}
    assert {event.version for event in deltas} == {0}


@pytest.mark.parametrize(
    "script",
    [
        [*called(0, '{"a"'), *called(1, "{", name="now"), *called(0, ": 1}", name=""), *called(1, "}", name="")],
        [*called(0, '{"a": 7}'), *called(1, name="never")],
        [*called(0, '{"a"')],
        [],
    ],
    ids=["two take turns", "they say something else", "they stop", "there are none"],
)
async def test_pieces_that_cannot_be_relied_on_cost_only_pieces(streaming, texts, script):
    end = ended(("x", "add", '{"a": 1}'), ("y", "now", "{}"))
    *deltas, last = await events_of(streaming([*script, end]))
    assert dspex.ToolCalls.parse(texts(deltas)["self", "tool_calls"]) == last.prediction.tool_calls
    assert [call.name for call in last.prediction.tool_calls] == ["add", "now"]


async def test_calls_that_cannot_be_read_are_asked_for_again_as_a_new_version(streaming, texts):
    broken = [*called(0, "[1"), ended(("c", "add", "[1"))]
    *deltas, _ = await events_of(streaming(broken, ONE))
    assert [event.version for event in deltas] == [0, 0, *[1] * 7]
    assert json.loads(texts(deltas)["self", "tool_calls"])["tool_calls"][0]["args"] == {"a": 1, "b": 22}


async def test_text_and_calls_stream_side_by_side(streaming, reply, texts):
    program = dspex.Predict("question, tools: list[dspex.Tool] -> plan, tool_calls: dspex.ToolCalls")
    *deltas, last = await events_of(streaming([*reply(plan="add them"), *ONE]), program, question="?", tools=TOOLS)
    assert texts(deltas)["self", "plan"] == last.prediction.plan == "add them"
    assert json.loads(texts(deltas)["self", "tool_calls"])["tool_calls"][0]["name"] == "add"


@pytest.mark.parametrize("async_streaming", [True, False], ids=["async", "sync"])
async def test_a_listener_hears_calls(streaming, async_streaming):
    program = dspex.streamify(
        asking(), stream_listeners=[StreamListener("tool_calls")], async_streaming=async_streaming
    )
    with dspex.context(lm=lm_of(streaming(ONE)), adapter=NATIVE):
        stream = program(question="?", tools=TOOLS)
        items = [item async for item in stream] if async_streaming else list(stream)
    *chunks, last = items
    assert all(isinstance(item, StreamResponse) for item in chunks)
    assert len(chunks) == 7
    assert dspex.ToolCalls.parse("".join(item.chunk for item in chunks)) == last.tool_calls


def agent_script(thought, *calls):
    pieces = [piece for place, (name, args) in enumerate(calls) for piece in called(place, *args, name=name)]
    whole = [(f"c{place}", name, "".join(args) or "{}") for place, (name, args) in enumerate(calls)]
    return [f"[[ ## next_thought ## ]]\n{thought}\n\n[[ ## completed ## ]]", *pieces, ended(*whole)]


def agent_replies(reply):
    turn = agent_script("both", ("add", ('{"a": ', "1}")), ("now", ("{}",)))
    return [turn, agent_script("done", ("finish", ())), reply(reasoning="so", answer="1")]


async def test_an_agent_that_calls_natively_streams_its_calls(streaming, reply):
    agent = dspex.ReAct("question -> answer", [add, now])
    *events, last = await events_of(streaming(*agent_replies(reply)), agent, question="?")
    deltas = [one for one in events if isinstance(one, FieldDelta) and one.field == "tool_calls"]
    assert {one.predictor for one in deltas} == {"react"}
    texts = ["".join(one.text for one in deltas if one.run == run) for run in (0, 1)]
    assert json.loads(texts[0])["tool_calls"] == [{"name": "add", "args": {"a": 1}}, {"name": "now", "args": {}}]
    assert json.loads(texts[1])["tool_calls"] == [{"name": "finish", "args": {}}]
    kinds = [type(event).__name__ for event in events]
    assert kinds.index("FieldDelta") < kinds.index("ToolStarted")
    assert last.prediction.answer == "1"


async def test_who_listens_to_an_agents_tool_and_arguments_hears_those_of_the_first_native_call(streaming, reply):
    agent = dspex.ReAct("question -> answer", [add, now])
    fields = ("next_tool_name", "next_tool_args")
    program = dspex.streamify(agent, stream_listeners=[StreamListener(name, allow_reuse=True) for name in fields])
    with dspex.context(lm=lm_of(streaming(*agent_replies(reply)))):
        chunks = [item async for item in program(question="?") if isinstance(item, StreamResponse)]
    heard = [(one.run, one.signature_field_name, one.chunk, one.is_last_chunk) for one in chunks]
    assert heard == [
        (0, "next_tool_name", "add", True),
        *((0, "next_tool_args", '{"a": ', False), (0, "next_tool_args", "1}", False), (0, "next_tool_args", "", True)),
        (1, "next_tool_name", "finish", True),
        *((1, "next_tool_args", "{}", False), (1, "next_tool_args", "", True)),
    ]


async def test_a_reply_that_has_to_be_a_functions_arguments_streams_its_fields(streaming, texts):
    text = '{"reasoning": "so it is", "answer": 4}'
    pieces = [text[at : at + 5] for at in range(0, len(text), 5)]
    script = [*called(0, *pieces, name="give_reply"), ended(("c", "give_reply", text))]
    program = dspex.ChainOfThought("question -> answer: int")
    provider = streaming(script)
    with dspex.context(lm=lm_of(provider), adapter=dspex.JSONAdapter()):
        *deltas, last = [event async for event in program.astream(question="?")]
    assert provider.requests[0].params["tool_choice"]["function"]["name"] == "give_reply"
    assert texts(deltas) == {("predict", "reasoning"): "so it is", ("predict", "answer"): "4"}
    assert len([one for one in deltas if one.field == "reasoning"]) > 2
    assert last.prediction.answer == 4


async def test_pieces_of_calls_count_once_to_the_length_of_a_stream(streaming):
    half = "x" * (3 << 20)
    fits = [*called(0, f'{{"a": "{half}"}}'), ended(("c", "add", f'{{"a": "{half}"}}'))]
    lm = lm_of(streaming(fits))
    assert [piece async for piece in lm.stream(lm.request((), {}))][-1].tool_calls
    endless = lm_of(streaming(called(0, half, half)))
    with pytest.raises(ProtocolError, match="beyond"):
        [piece async for piece in endless.stream(endless.request((), {}))]
