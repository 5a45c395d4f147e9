"""What is sent and what comes back, over LiteLLM: calls, streams, schemas, usage and their price."""

import json

import pytest

import dspex
from dspex.plugin import (
    BadRequest,
    ConfigurationError,
    ContentFiltered,
    Image,
    Message,
    ProtocolError,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # LiteLLM's own

TOOL = {"name": "add", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}
CHUNK = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "acme-1"}


def reply(content, reason="stop", **message):
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": reason}
    usage = {
        "prompt_tokens": 30, "completion_tokens": 9, "total_tokens": 39, "prompt_tokens_details": {"cached_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }  # fmt: skip
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "acme-1",
        "choices": [choice],
        "usage": usage,
    }


def piece(reason=None, **delta):
    return {**CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


async def test_a_reply_has_text_thought_usage_and_model(server, lm, ask):
    server.then(200, json=reply("42", reasoning_content="Hm."))
    got = await ask(lm())
    [choice] = got.choices
    assert (got.text, choice.reasoning, choice.finish_reason, got.model) == ("42", "Hm.", "stop", "acme-1")
    assert got.usage == Usage(30, 9, 20, 4)


async def test_messages_tools_and_parameters_reach_the_server(server, lm, ask):
    server.then(200, json=reply("4"))
    turns = [
        Message.of("system", "Add."), Message("user", (Text("1 + 1?"), Image("data:image/png;base64,iVBO"))),
        Message("assistant", (ToolCall("c1", "add", '{"x": 1}'),)), Message("tool", (ToolResult("c1", "2"),)),
    ]  # fmt: skip
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    await ask(lm(headers={"x-mine": "1"}), *turns, tools=(TOOL,), schema=schema, temperature=0.5, max_tokens=9)
    [request] = server.requests
    body = request.json
    assert [turn["role"] for turn in body["messages"]] == ["system", "user", "assistant", "tool"]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("acme-1", 0.5, 9)
    assert body["tools"] == [{"type": "function", "function": TOOL}]
    assert body["response_format"]["json_schema"]["schema"]["properties"] == schema["properties"]
    assert (request.headers["authorization"], request.headers["x-mine"]) == ("Bearer k", "1")


async def test_calls_of_tools_are_read_whole_and_in_pieces(server, lm, ask, stream):
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"x": 1}'}}
    server.then(200, json=reply(None, "tool_calls", tool_calls=[call]))
    begun = {"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"x"'}}
    rest = {"index": 0, "function": {"arguments": ": 1}"}}
    server.then_events([piece(tool_calls=[begun]), piece(tool_calls=[rest]), piece("tool_calls")])
    wanted = (ToolCall("c1", "add", '{"x": 1}'),)
    assert (await ask(lm(), tools=(TOOL,))).choices[0].tool_calls == wanted
    came = [delta async for delta in stream(lm())]
    assert (came[-1].tool_calls, came[-1].finish_reason) == (wanted, "tool_calls")


async def test_another_vendors_wire_is_spoken(server, lm, ask):
    usage = {"input_tokens": 3, "output_tokens": 2}
    block = {"type": "text", "text": "Hi."}
    body = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "c",
        "content": [block],
        "stop_reason": "end_turn",
    }
    server.then(200, json={**body, "usage": usage})
    got = await ask(lm("anthropic/claude-3-5-haiku-20241022", api_base=server.url))
    assert (got.text, got.usage.input_tokens) == ("Hi.", 3)
    assert server.requests[0].path == "/v1/messages"


async def test_litellms_price_of_a_call_is_told(server, lm, ask):
    server.then(200, json={**reply("42"), "model": "gpt-4o"})
    assert 0 < (await ask(lm("openai/gpt-4o"))).usage.usd < 0.01


async def test_litellms_mock_answers_whole_and_in_pieces(lm, ask, stream):
    model = lm(mock_response="One two three")
    assert (await ask(model)).text == "One two three"
    came = [delta async for delta in stream(model)]
    assert "".join(delta.text for delta in came) == "One two three"
    assert came[-1].finish_reason == "stop"


async def test_what_litellm_knows_of_a_model_is_told(lm):
    known, unknown = lm("openai/gpt-4o"), lm("openai/acme-1")
    await known.ready()
    await unknown.ready()
    assert (known.capabilities.tools, known.capabilities.max_output_tokens) == (True, 16384)
    assert unknown.capabilities.tools is None


async def test_a_parameter_that_a_model_does_not_take_is_refused_or_left_out(server, lm, ask):
    server.then(200, json=reply("4"))
    with pytest.raises(BadRequest, match="reasoning_effort"):
        await ask(lm("openai/gpt-4"), reasoning_effort="low")
    await ask(lm("openai/gpt-4", drop_params=True), reasoning_effort="low")
    assert "reasoning_effort" not in server.requests[0].json


async def test_a_provider_that_litellm_does_not_know_is_named(lm, ask):
    with pytest.raises(BadRequest, match="litellm/PROVIDER/MODEL"):
        await ask(lm("acme-1"))


def test_a_wrong_option_is_named():
    with pytest.raises(ConfigurationError, match="drop_params"):
        dspex.LM("litellm/openai/x", drop_params="often").capabilities  # noqa: B018


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (reply("x", "content_filter"), ContentFiltered),
        (reply(None, refusal="I will not."), ContentFiltered),
        (reply(None), ProtocolError),
    ],
)
async def test_a_reply_without_an_answer_is_an_error(server, lm, ask, body, kind):
    server.then(200, json=body)
    with pytest.raises(kind):
        await ask(lm())


async def test_a_reader_that_stops_early_closes_the_request(server, lm, stream):
    server.then_events([piece(content=str(n)) for n in range(99)], every=0.02, end="hang")
    coming = stream(lm())
    assert (await anext(coming)).text
    await coming.aclose()
    assert server.wait(lambda s: s.closed == s.connections)


async def test_several_texts_become_rows(server):
    rows = [{"object": "embedding", "index": place, "embedding": [place, 1.0]} for place in (1, 0)]
    server.then(
        200, json={"object": "list", "model": "e", "data": rows, "usage": {"prompt_tokens": 5, "total_tokens": 5}}
    )
    async with dspex.App():
        fixed = {"api_base": f"{server.url}/v1", "api_key": "k", "caching": False}
        embedder = dspex.Embedder("litellm/openai/text-embedding-3-small", dimensions=2, **fixed)
        got = await embedder.embed(["a", "b"])
        assert [list(row) for row in got] == [[0, 1], [1, 1]]
        assert json.loads(server.requests[0].body)["dimensions"] == 2
        server.then(200, json={"object": "list", "model": "e", "data": rows[:1], "usage": {}}).then(
            401, json={"error": {"message": "no"}}
        )
        with pytest.raises(ProtocolError, match="2 texts got 1"):
            await dspex.Embedder("litellm/openai/e", num_retries=0, **fixed).embed(["a", "b"])
        with pytest.raises(dspex.AuthError):
            await dspex.Embedder("litellm/openai/e", num_retries=0, **fixed).embed(["a"])
