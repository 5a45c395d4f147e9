"""Against aimock, a mock of Anthropic's wire that others wrote."""

import pytest

import dspex
from dspex.plugin import Message, ProtocolError, RateLimited, ToolCall, ToolResult, Unavailable

TOOL = {"name": "look_up", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


@pytest.fixture
def lm(mock):
    return dspex.LM("anthropic/claude-sonnet-4-5", api_base=mock.url, api_key="k", cache=False, num_retries=0)


async def whole(lm, stream, said, **params):
    return [delta async for delta in stream(lm, said, **params)]


async def test_a_reply_is_the_same_whole_and_in_pieces(lm, ask, stream):
    got, pieces = await ask(lm, "plain"), await whole(lm, stream, "plain")
    assert got.text == "".join(piece.text for piece in pieces) == "Write the word café and a smile 😀."
    assert got.usage == pieces[-1].usage == dspex.Usage(9, 8)
    assert len(pieces) > 3


async def test_a_call_is_the_same_whole_and_in_pieces(lm, ask, stream):
    wanted = ("look_up", '{"city":"Oslo","days":2}')
    got, pieces = await ask(lm, "tool", tools=(TOOL,)), await whole(lm, stream, "tool")
    for [call] in (got.choices[0].tool_calls, pieces[-1].tool_calls):
        assert (call.name, call.arguments) == wanted


async def test_thoughts_are_told_apart(lm, ask, stream):
    [choice] = (await ask(lm, "think")).choices
    pieces = await whole(lm, stream, "think")
    assert choice.reasoning == "".join(piece.reasoning or "" for piece in pieces) == "Two and two."
    assert choice.text == "".join(piece.text for piece in pieces) == "Four."


async def test_what_is_sent_is_read_as_it_is_meant(lm, ask, mock):
    turns = [
        Message.of("system", "You are a parrot."),
        Message.of("user", "Where?"),
        Message("assistant", (ToolCall("call_0", "look_up", '{"city": "Oslo"}'),)),
        Message("tool", (ToolResult("call_0", "rain"),)),
        Message.of("user", "plain"),
    ]
    await ask(lm, *turns, tools=(TOOL,), temperature=0.25)
    seen = mock.journal()[-1]
    roles = [message["role"] for message in seen["body"]["messages"]]
    # Results of tools stand in the user's turn, and the mock takes them out behind what else is said there.
    assert roles == ["system", "user", "assistant", "user", "tool"]
    assert seen["body"]["messages"][2]["tool_calls"][0]["function"]["name"] == "look_up"
    assert seen["body"]["tools"][0]["function"]["name"] == "look_up"
    assert seen["body"]["temperature"] == 0.25


@pytest.mark.parametrize(
    ("said", "kind"), [("slow", RateLimited), ("broken", ProtocolError), ("gone", (Unavailable, ProtocolError))]
)
async def test_faults_are_told_by_their_classes(lm, ask, stream, said, kind):
    with pytest.raises(kind):
        await ask(lm, said)
    # An endpoint of its own: the mock's headers ask to leave this one alone for minutes.
    with pytest.raises(kind):
        await whole(lm.copy(headers={"x-way": "pieces"}), stream, said)
