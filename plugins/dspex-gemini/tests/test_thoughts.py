"""Signatures of thoughts: they go back on the parts that they came on, and to the model only that signed."""

import json

import pytest

from dspex.plugin import Message, Text, Thought, ToolCall, ToolResult

MODEL = "gemini-3-pro-preview"
SKIP = "skip_thought_signature_validator"
TOOL = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}}
ASKED = Message.of("user", "2+2?")


def called(number, signature=None):
    signed = {} if signature is None else {"thoughtSignature": signature}
    return {"functionCall": {"id": f"t{number}", "name": "add", "args": {"x": number}}, **signed}


def said(text, signature=None):
    return {"text": text, **({} if signature is None else {"thoughtSignature": signature})}


@pytest.fixture(params=["whole", "streamed"])
def first(request, server, lm, ask, stream, reply):
    """The turn that a reply of these parts becomes, whole or each part in a piece of its own."""

    async def first(*parts, model=MODEL):
        if request.param == "whole":
            server.then(200, json=reply(*parts))
            choice = (await ask(lm(model), ASKED, tools=(TOOL,))).choices[0]
            given = choice.thoughts, choice.text, choice.tool_calls
        else:
            pieces = [reply(part, reason=None) for part in parts]
            server.then_events([*pieces, reply(usageMetadata={"promptTokenCount": 1})], done=False)
            came = [piece async for piece in stream(lm(model), ASKED)]
            given = came[-1].thoughts, "".join(piece.text for piece in came), came[-1].tool_calls
        thoughts, text, calls = given
        return Message("assistant", (*thoughts, *((Text(text),) if text else ()), *calls))

    return first


@pytest.fixture
def sent(server, lm, ask, reply):
    """The parts of the model's turn as they are sent back with its results."""

    async def sent(turn, model=MODEL):
        server.then(200, json=reply("4."))
        calls = [part for part in turn.parts if isinstance(part, ToolCall)]
        await ask(lm(model), ASKED, turn, Message("tool", tuple(ToolResult(call.id, "4") for call in calls)))
        return server.requests[-1].json["contents"][1]["parts"]

    return sent


@pytest.mark.parametrize(
    "parts",
    [
        (called(1, "a=="),),
        (called(1, "a=="), called(2)),
        (said("Let me see.", "b=="), called(1, "a==")),
        (called(1, "a=="), called(2, "c==")),
    ],
    ids=["one", "the first of two", "text too", "both"],
)
async def test_signatures_go_back_on_their_parts(first, sent, parts):
    assert await sent(await first(*parts)) == list(parts)


async def test_a_signature_that_came_on_an_empty_part_goes_back_on_one(first, sent):
    assert await sent(await first(called(1), said("", "d=="))) == [said("", "d=="), called(1, SKIP)]


async def test_an_older_model_has_its_signatures_back_too_and_needs_none(first, sent):
    old = "gemini-2.5-pro"
    assert await sent(await first(called(1, "a=="), model=old), model=old) == [called(1, "a==")]
    assert await sent(await first(called(1), model=old), model=old) == [called(1)]


@pytest.mark.parametrize("maker", ["anthropic/claude-sonnet-4", f"vertex_ai/{MODEL}", "gemini/gemini-3-flash-preview"])
async def test_what_another_model_signed_is_left_out_and_the_call_is_marked(sent, maker):
    turn = Message("assistant", (Thought('{"calls": ["theirs"]}', maker), ToolCall("t1", "add", '{"x": 1}')))
    parts = await sent(turn)
    assert parts == [called(1, SKIP)]
    assert "theirs" not in json.dumps(parts)


async def test_a_reply_without_calls_or_signatures_hands_none_up(first):
    for parts in ((said("4.", "b=="),), (called(1),)):
        assert not any(isinstance(part, Thought) for part in (await first(*parts)).parts)
