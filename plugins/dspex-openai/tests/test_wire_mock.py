"""Against aimock, a mock of OpenAI's wire that others wrote: chat, responses, embeddings, and Azure's addresses."""

import pytest

import dspex
from dspex.plugin import Message, RateLimited, ToolCall, ToolResult

TOOL = {"name": "look_up", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


@pytest.fixture(params=["chat", "responses", "azure", "azure-dated", "azure-responses"])
def lm(mock, request):
    """One model by each way to it."""
    more = {"api_key": "k", "cache": False, "num_retries": 0}
    if request.param.startswith("azure"):
        way = {"api_version": "2024-10-21"} if request.param == "azure-dated" else {}
        kind = {"model_type": "responses"} if request.param == "azure-responses" else {}
        base = mock.url if way else f"{mock.url}/openai/v1"
        return dspex.LM("azure/gpt-4o", api_base=base, **way, **kind, **more)
    return dspex.LM("openai/gpt-4o", request.param, api_base=f"{mock.url}/v1", **more)


async def pieces(lm, stream, said, **params):
    return [delta async for delta in stream(lm, said, **params)]


async def test_a_reply_is_the_same_whole_and_in_pieces(lm, ask, stream):
    got, came = await ask(lm, "plain"), await pieces(lm, stream, "plain")
    assert got.text == "".join(piece.text for piece in came) == "Write the word café and a smile 😀."
    assert got.usage == came[-1].usage == dspex.Usage(9, 8)


async def test_a_call_is_the_same_whole_and_in_pieces(lm, ask, stream):
    got, came = await ask(lm, "tool", tools=(TOOL,)), await pieces(lm, stream, "tool")
    for [call] in (got.choices[0].tool_calls, came[-1].tool_calls):
        assert (call.name, call.arguments) == ("look_up", '{"city":"Oslo","days":2}')
    assert came[-1].finish_reason == "tool_calls"


async def test_thoughts_are_told_apart(lm, ask, stream):
    [choice] = (await ask(lm, "think")).choices
    came = await pieces(lm, stream, "think")
    assert choice.reasoning == "".join(piece.reasoning or "" for piece in came) == "Two and two."
    assert choice.text == "Four."


async def test_what_is_sent_is_read_as_it_is_meant(lm, ask, mock):
    turns = [
        Message.of("system", "You are a parrot."), Message.of("user", "Where?"),
        Message("assistant", (ToolCall("c1", "look_up", '{"city": "Oslo"}'),)), Message("tool", (ToolResult("c1", "rain"),)),
        Message.of("user", "plain"),
    ]  # fmt: skip
    await ask(lm, *turns, tools=(TOOL,))
    body = mock.journal()[-1]["body"]
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "tool", "user"]
    assert body["tools"][0]["function"]["name"] == "look_up"


async def test_a_limit_is_told_by_its_class(lm, ask):
    with pytest.raises(RateLimited):
        await ask(lm, "slow")


@pytest.mark.parametrize("model", ["openai/text-embedding-3-small", "azure/e"])
async def test_embeddings_are_rows(mock, model):
    dated = {"api_version": "2024-10-21"} if model.startswith("azure") else {}
    base = mock.url if dated else f"{mock.url}/v1"
    embedder = dspex.Embedder(model, api_base=base, api_key="k", caching=False, dimensions=4, **dated)
    got = await embedder.embed(["a", "b", "a"])
    assert (len(got), got.dim) == (3, 4)
    assert list(got[0]) == list(got[2]) != list(got[1])
