"""Thoughts before calls: they go back as they came, signed or sealed, and to the model only that had them."""

import json

import pytest

import dspex
from dspex.plugin import Message, Text, Thought, ToolCall, ToolResult

MODEL = "claude-sonnet-4"
BUDGET = {"type": "enabled", "budget_tokens": 2_000}
THINKING = {"type": "thinking", "thinking": "Two and two.", "signature": "sig=="}
REDACTED = {"type": "redacted_thinking", "data": "sealed=="}
SAID = {"type": "text", "text": "Let me see."}
CALL = {"type": "tool_use", "id": "t1", "name": "add", "input": {"x": 1}}
TOOL = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}}
ASKED = Message.of("user", "2+2?")
CAME = Message("tool", (ToolResult("t1", "4"),))
DONE = {"content": [{"type": "text", "text": "4."}], "stop_reason": "end_turn"}


def whole(*blocks):
    return {"content": list(blocks), "stop_reason": "tool_use"}


def events(*blocks):
    """The same as a stream, each text in two pieces."""
    made = [{"type": "message_start", "message": {"content": []}}]
    for index, block in enumerate(blocks):
        word = {"thinking": "thinking", "text": "text"}.get(block["type"])
        head = {**block, word: "", **({"signature": ""} if word == "thinking" else {})} if word else block
        made.append({"type": "content_block_start", "index": index, "content_block": head})
        for half in (block[word][:3], block[word][3:]) if word else ():
            piece = {"type": f"{word}_delta", word: half}
            made.append({"type": "content_block_delta", "index": index, "delta": piece})
        if word == "thinking":
            piece = {"type": "signature_delta", "signature": block["signature"]}
            made.append({"type": "content_block_delta", "index": index, "delta": piece})
        made.append({"type": "content_block_stop", "index": index})
    return [*made, {"type": "message_delta", "delta": {"stop_reason": "tool_use"}}, {"type": "message_stop"}]


@pytest.fixture(params=["whole", "streamed"])
def first(request, server, lm, ask, stream):
    """What a reply of these blocks hands up, whole or in pieces."""

    async def first(*blocks):
        if request.param == "whole":
            server.then(200, json=whole(*blocks))
            choice = (await ask(lm(MODEL), ASKED, tools=(TOOL,))).choices[0]
            return choice.thoughts, choice.text, choice.tool_calls
        server.then_events(events(*blocks), done=False)
        came = [piece async for piece in stream(lm(MODEL), ASKED)]
        return came[-1].thoughts, "".join(piece.text for piece in came), came[-1].tool_calls

    return first


@pytest.fixture
def sent(server, lm, ask):
    """What is sent in the next turn, with the results."""

    async def sent(*turns, model=MODEL, thinking=BUDGET):
        server.then(200, json=DONE)
        await ask(lm(model), *turns, tools=(TOOL,), thinking=thinking)
        return server.requests[-1].json

    return sent


def turn(thoughts, text, calls):
    return Message("assistant", (*thoughts, *((Text(text),) if text else ()), *calls))


@pytest.mark.parametrize(
    "blocks",
    [
        (THINKING, CALL),
        (THINKING, REDACTED, SAID, CALL),
        (REDACTED, CALL),
        (THINKING, SAID, {**THINKING, "signature": "other"}, SAID, CALL),
    ],
    ids=["signed", "with text", "sealed", "between texts"],
)
async def test_thoughts_go_back_as_they_came_and_the_model_goes_on_thinking(first, sent, blocks):
    body = await sent(ASKED, turn(*await first(*blocks)), CAME)
    assert body["messages"][1] == {"role": "assistant", "content": list(blocks)}
    assert body["thinking"] == BUDGET


async def test_a_run_of_calls_goes_on_thinking_where_its_later_turns_had_no_thoughts(first, sent):
    begun = turn(*await first(THINKING, CALL))
    later = (Message("assistant", (ToolCall("t2", "add", "{}"),)), Message("tool", (ToolResult("t2", "5"),)))
    body = await sent(ASKED, begun, CAME, *later)
    assert body["thinking"] == BUDGET
    assert [[block["type"] for block in one["content"]] for one in body["messages"][1::2]] == [
        ["thinking", "tool_use"],
        ["tool_use"],
    ]


async def test_a_run_of_calls_that_another_began_goes_on_without_thinking(first, sent):
    begun = (Message("assistant", (ToolCall("t0", "add", "{}"),)), Message("tool", (ToolResult("t0", "5"),)))
    body = await sent(ASKED, *begun, turn(*await first(THINKING, CALL)), CAME)
    assert "thinking" not in body
    assert "sig==" not in json.dumps(body)


@pytest.mark.parametrize("maker", ["gemini/gemini-3-pro", f"other/{MODEL}", "anthropic/claude-opus-4"])
async def test_thoughts_of_another_model_are_left_out(sent, maker):
    body = await sent(ASKED, turn((Thought("theirs", maker),), "", (ToolCall("t1", "add", "{}"),)), CAME)
    assert [block["type"] for block in body["messages"][1]["content"]] == ["tool_use"]
    assert "theirs" not in json.dumps(body)
    assert "thinking" not in body


async def test_a_model_that_is_told_not_to_think_is_sent_no_thoughts(first, sent):
    body = await sent(ASKED, turn(*await first(THINKING, SAID, CALL)), CAME, thinking={"type": "disabled"})
    assert [block["type"] for block in body["messages"][1]["content"]] == ["text", "tool_use"]


async def test_a_reply_without_calls_or_with_thoughts_between_them_hands_none_up(first):
    assert (await first(THINKING, SAID))[0] == ()
    assert (await first(THINKING, CALL, THINKING, {**CALL, "id": "t2"}))[0] == ()
    assert (await first(SAID, CALL))[0] == ()


def test_an_agent_that_thinks_gives_its_thoughts_back(server, lm):
    def add(x: int) -> int:
        """Adds."""
        return x + 3

    def say(**values):
        return {"type": "text", "text": dspex.ChatAdapter().format_fields(values)}

    server.then(200, json=whole(THINKING, REDACTED, CALL))
    server.then(200, json=whole({**CALL, "id": "t2", "name": "finish", "input": {}}))
    server.then(200, json={"content": [say(reasoning="r", answer="4")], "stop_reason": "end_turn"})
    with dspex.context(lm=lm(MODEL, thinking=BUDGET)):
        assert dspex.ReAct("question -> answer", tools=[add], native=True)(question="1+3?").answer == "4"
    _, second, _ = (seen.json for seen in server.requests)
    assert second["messages"][1]["content"] == [THINKING, REDACTED, CALL]
    assert second["thinking"] == BUDGET
