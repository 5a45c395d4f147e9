"""Thoughts before calls: sealed items of the Responses API, and DeepSeek's in words, go back to the model that had them."""

import json

import pytest

import dspex
from dspex.plugin import Message, Text, Thought, ToolCall, ToolResult

TOOL = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}}
ASKED = Message.of("user", "2+2?")
SEALED = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Two and two."}],
    "encrypted_content": "gAAA==",
}
SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]}


def called(number):
    return {"type": "function_call", "call_id": f"t{number}", "name": "add", "arguments": "{}"}


def turn(thoughts, text, calls):
    return Message("assistant", (*thoughts, *((Text(text),) if text else ()), *calls))


def results(turn):
    return Message("tool", tuple(ToolResult(part.id, "4") for part in turn.parts if isinstance(part, ToolCall)))


async def given(lm, ask, stream, streams):
    """What a call hands up: thoughts, text and calls."""
    if not streams:
        choice = (await ask(lm, ASKED, tools=(TOOL,))).choices[0]
        return choice.thoughts, choice.text, choice.tool_calls
    came = [piece async for piece in stream(lm, ASKED)]
    return came[-1].thoughts, "".join(piece.text for piece in came), came[-1].tool_calls


# The Responses API


@pytest.fixture
def model(lm):
    return lambda name="gpt-5": lm(name, model_type="responses")


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def first(request, server, model, ask, stream):
    """The turn that a reply of these items becomes."""

    async def first(*items):
        reply = {"id": "r1", "model": "gpt-5", "status": "completed", "output": list(items)}
        if request.param:
            done = [
                {"type": "response.output_item.done", "output_index": at, "item": one} for at, one in enumerate(items)
            ]
            server.then_events([*done, {"type": "response.completed", "response": {**reply, "output": []}}], done=False)
        else:
            server.then(200, json=reply)
        return turn(*await given(model(), ask, stream, request.param))

    return first


@pytest.fixture
def sent(server, model, ask):
    """The body that is sent in the next turn."""

    async def sent(*turns, name="gpt-5", **more):
        server.then(200, json={"status": "completed", "output": [SAID]})
        await ask(model(name), *turns, **more)
        return server.requests[-1].json

    return sent


@pytest.mark.parametrize(
    "items",
    [(SEALED, called(1)), (SEALED, SAID, called(1)), (SEALED, called(1), {**SEALED, "id": "rs_2"}, called(2))],
    ids=["alone", "with text", "between calls"],
)
async def test_sealed_items_go_back_where_they_stood(first, sent, items):
    came = await first(*items)
    body = await sent(ASKED, came, results(came))
    said = {"role": "assistant", "content": "Let me see."}
    assert body["input"][1 : 1 + len(items)] == [said if item is SAID else item for item in items]


async def test_items_that_are_not_sealed_and_replies_without_calls_hand_none_up(first):
    bare = {name: value for name, value in SEALED.items() if name != "encrypted_content"}
    for items in ((bare, called(1)), (SEALED, SAID)):
        assert not any(isinstance(part, Thought) for part in (await first(*items)).parts)


@pytest.mark.parametrize(
    ("name", "asks"), [("gpt-5", True), ("o4-mini", True), ("gpt-4.1", False), ("gpt-5-chat-latest", False)]
)
async def test_a_model_that_thinks_is_asked_for_its_thoughts_where_there_are_tools(sent, name, asks):
    sealed = ["reasoning.encrypted_content"]
    assert (await sent(ASKED, name=name, tools=(TOOL,))).get("include") == (sealed if asks else None)
    assert "include" not in await sent(ASKED, name=name)
    own = await sent(ASKED, name=name, tools=(TOOL,), include=["file_search_call.results"])
    assert own["include"] == ["file_search_call.results", *(sealed if asks else ())]
    assert (await sent(ASKED, name=name, tools=(TOOL,), include=sealed))["include"] == sealed


@pytest.mark.parametrize("maker", ["azure/gpt-5", "openai/gpt-5-mini", "anthropic/claude-sonnet-4"])
async def test_what_another_model_thought_is_left_out(sent, maker):
    came = turn((Thought("theirs", maker),), "", (ToolCall("t1", "add", "{}"),))
    body = await sent(ASKED, came, results(came))
    assert body["input"][1] == called(1)
    assert "theirs" not in json.dumps(body)


# Chat completions


@pytest.fixture
def deepseek(server):
    return dspex.LM("deepseek/deepseek-chat", api_base=server.url, api_key="k", cache=False, num_retries=0)


CHAT_CALL = {"id": "t1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
CHAT_DONE = {"choices": [{"message": {"content": "4."}, "finish_reason": "stop"}]}


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
async def test_deepseek_has_its_thoughts_back_with_its_calls(server, deepseek, ask, stream, streams):
    thought, call = {"reasoning_content": "Two and two."}, {"tool_calls": [{"index": 0, **CHAT_CALL}]}
    if streams:
        halves = [{"reasoning_content": "Two "}, {"reasoning_content": "and two."}, call]
        chunks = [{"choices": [{"delta": half}]} for half in halves]
        server.then_events([*chunks, {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}])
    else:
        message = {"content": None, **thought, **call}
        server.then(200, json={"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    came = turn(*await given(deepseek, ask, stream, streams))
    server.then(200, json=CHAT_DONE)
    others = Message("assistant", (Thought("theirs", "deepseek/other"), ToolCall("t2", "add", "{}")))
    more = (others, results(others), Message.of("assistant", "5."), "Sure?")
    await ask(deepseek, ASKED, came, results(came), *more)
    sent = server.requests[-1].json["messages"]
    assert [one["reasoning_content"] for one in sent if one["role"] == "assistant"] == ["Two and two.", "", ""]
    assert sent[1]["tool_calls"] == [CHAT_CALL]


async def test_deepseek_hands_no_thoughts_up_without_calls(server, deepseek, ask):
    message = {"content": "4.", "reasoning_content": "Two and two."}
    server.then(200, json={"choices": [{"message": message, "finish_reason": "stop"}]})
    choice = (await ask(deepseek, ASKED)).choices[0]
    assert (choice.reasoning, choice.thoughts) == ("Two and two.", ())


async def test_other_services_are_sent_no_thoughts(server, lm, ask):
    server.then(200, json=CHAT_DONE)
    came = turn((Thought("theirs", "openai/acme-1"),), "", (ToolCall("t1", "add", "{}"),))
    await ask(lm(), ASKED, came, results(came))
    assert server.requests[-1].json["messages"][1] == {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL]}
