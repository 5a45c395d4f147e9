"""The Responses API: what is sent, and replies of every kind; faults are the kit's (test_contract)."""

import json

import pytest

import dspex
from dspex.plugin import (
    AuthError,
    BadRequest,
    ContentFiltered,
    File,
    Image,
    Message,
    ProtocolError,
    RateLimited,
    Text,
    ToolCall,
    ToolCallPiece,
    ToolResult,
    Unavailable,
    Usage,
)

TOOL = {
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}},
}


def message(*texts, **more):
    return {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, **more} for text in texts],
    }


def reply(*output, status="completed", **more):
    return {"id": "resp_1", "model": "acme-1-0", "status": status, "output": list(output), **more}


@pytest.fixture
def model(lm):
    return lambda **more: lm(model_type="responses", **more)


@pytest.fixture
def sent(server, model, ask):
    """The body of a request."""

    async def sent(*said, options=None, **asked):
        server.then(200, json=reply(message("4")))
        await ask(model(**options or {}), *said, **asked)
        assert server.requests[-1].path == "/v1/responses"
        return server.requests[-1].json

    return sent


@pytest.fixture
def answer(server, model, ask):
    """The reply, or the error, that a body becomes."""

    async def answer(body, **asked):
        server.then(200, body if isinstance(body, bytes) else json.dumps(body))
        return await ask(model(), **asked)

    return answer


async def test_a_plain_question_is_sent_and_not_kept_at_the_provider(sent):
    assert await sent("Hi") == {"model": "acme-1", "input": [{"role": "user", "content": "Hi"}], "store": False}
    assert (await sent("Hi", store=True))["store"] is True


async def test_turns_calls_and_results_are_items(sent):
    turns = [
        Message.of("system", "Be brief."), Message.of("user", "1 + 1?"),
        Message("assistant", (Text("Wait."), ToolCall("c1", "add", '{"x": 1}'), ToolCall("c2", "now", ""))),
        Message("tool", (ToolResult("c1", "2"), ToolResult("c2", "noon"), Text("So?"))),
    ]  # fmt: skip
    assert (await sent(*turns))["input"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "Wait."},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"x": 1}'},
        {"type": "function_call", "call_id": "c2", "name": "now", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "2"},
        {"type": "function_call_output", "call_id": "c2", "output": "noon"},
        {"role": "tool", "content": "So?"},
    ]


async def test_media_are_parts(sent):
    picture, paper = Image("data:image/png;base64,iVBO", "low"), File("data:application/pdf;base64,JVBE", None, "p.pdf")
    body = await sent(Message("user", (Text("Look."), picture, paper, File(file_id="file-1"))))
    assert body["input"][0]["content"] == [
        {"type": "input_text", "text": "Look."},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "low"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,JVBE", "filename": "p.pdf"},
        {"type": "input_file", "file_id": "file-1"},
    ]


async def test_parameters_have_this_apis_names(sent):
    choice = {"type": "function", "function": {"name": "add"}}
    body = await sent(
        "Hi", max_tokens=9, temperature=0.5, logprobs=3, reasoning_effort="low", reasoning={"summary": "auto"}, tools=(TOOL,),
        tool_choice=choice, parallel_tool_calls=False, truncation="auto",
    )  # fmt: skip
    assert (body["max_output_tokens"], body["temperature"], body["truncation"]) == (9, 0.5, "auto")
    assert body["reasoning"] == {"effort": "low", "summary": "auto"}
    assert (body["include"], body["top_logprobs"]) == (["message.output_text.logprobs"], 3)
    assert body["tools"] == [{"type": "function", "strict": False, **TOOL}]
    assert body["tool_choice"] == {"type": "function", "name": "add"}
    assert body["parallel_tool_calls"] is False


async def test_a_tool_of_openais_own_stays_as_it_is(sent):
    wrapped = {"type": "function", "function": {"name": "now"}}
    tools = (await sent("Hi", tools=({"type": "web_search"}, wrapped)))["tools"]
    assert tools[0] == {"type": "web_search"}
    assert tools[1]["parameters"] == {"type": "object", "properties": {}}


async def test_a_schema_is_the_texts_format(sent):
    schema = {"title": "R", "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    form = (await sent("Hi", schema=schema, text={"verbosity": "low"}))["text"]
    closed = {**schema, "additionalProperties": False}
    assert form == {
        "verbosity": "low",
        "format": {"type": "json_schema", "name": "R", "schema": closed, "strict": True},
    }


@pytest.mark.parametrize("name", ["stop", "seed", "grammar", "logit_bias", "response_format"])
async def test_what_the_api_has_no_form_for_is_refused_and_not_sent(sent, server, name):
    with pytest.raises(BadRequest, match=name):
        await sent("Hi", **{name: "x"})
    assert not server.requests


async def test_a_whole_reply_has_text_thought_usage_model_and_id(answer):
    thought = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two."}],
    }
    usage = {
        "input_tokens": 30, "input_tokens_details": {"cached_tokens": 20}, "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4}, "total_tokens": 39,
    }  # fmt: skip
    got = await answer(reply(thought, message("4", "2", logprobs=[{"token": "4"}]), {"type": "news"}, usage=usage))
    [choice] = got.choices
    assert (got.text, got.model, got.id, got.usage) == ("42", "acme-1-0", "resp_1", Usage(30, 9, 20, 4))
    assert (choice.reasoning, choice.finish_reason) == ("One.\n\nTwo.", "stop")
    assert choice.logprobs == {"content": [{"token": "4"}, {"token": "4"}]}


async def test_calls_have_ids_of_their_own(answer):
    def call(**more):
        return {"type": "function_call", "id": "fc_1", "name": "f", "arguments": '{"a": 1}', **more}

    [choice] = (
        await answer(reply(call(call_id="c1"), call(call_id="c1"), call(), call(id=None, arguments="")))
    ).choices
    assert choice.tool_calls == (
        ToolCall("c1", "f", '{"a": 1}'), ToolCall("c1_1", "f", '{"a": 1}'), ToolCall("fc_1", "f", '{"a": 1}'),
        ToolCall("call_3", "f", "{}"),
    )  # fmt: skip
    assert choice.finish_reason == "tool_calls"


@pytest.mark.parametrize("reason", ["max_output_tokens", None])
async def test_a_reply_that_its_limit_cut_is_short(answer, reason):
    details = {"incomplete_details": {"reason": reason}} if reason else {}
    assert (await answer(reply(message("Ha"), status="incomplete", **details))).choices[0].finish_reason == "length"
    assert (await answer(reply(status="incomplete", **details))).text == ""


REFUSAL = {"type": "message", "content": [{"type": "refusal", "refusal": "I will not."}]}


@pytest.mark.fault("B04")
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (reply(REFUSAL), "I will not"),
        (reply(message("Ha"), status="incomplete", incomplete_details={"reason": "content_filter"}), "policy"),
    ],
)
async def test_a_refusal_is_content_filtered(answer, body, words):
    with pytest.raises(ContentFiltered, match=words):
        await answer(body)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ({}, ProtocolError, "no output"),
        (reply(), ProtocolError, "neither text"),
        (reply(message("x"), status="in_progress"), ProtocolError, "in_progress"),
        (reply(status="failed", error={"code": "server_error", "message": "Sorry."}), Unavailable, "Sorry"),
        (reply(status="failed", error={"code": "rate_limit_exceeded", "message": "Slow."}), RateLimited, "Slow"),
        (b"[1]", ProtocolError, "JSON"),
    ],
)
async def test_a_reply_without_an_answer_is_an_error(answer, body, kind, words):
    with pytest.raises(kind, match=words):
        await answer(body)


async def read(deltas):
    came = [delta async for delta in deltas]
    return "".join(delta.text for delta in came), came[-1]


def event(kind, **more):
    return {"type": f"response.{kind}", **more}


async def test_a_stream_ends_with_reason_and_usage(server, model, stream):
    end = event("completed", response=reply(message("One two"), usage={"input_tokens": 3, "output_tokens": 2}))
    deltas = [event("output_text.delta", delta=text) for text in ("One", " two")]
    server.then_events([event("created", response=reply(status="in_progress")), *deltas, end], done=False, end="hang")
    text, last = await read(stream(model()))
    assert (text, last.text, last.finish_reason, last.usage) == ("One two", "", "stop", Usage(3, 2))
    assert server.requests[0].json["stream"] is True


async def test_an_end_that_is_bare_takes_its_items_from_the_stream(server, model, stream):
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    server.then_events(
        [event("output_item.done", item=call), event("completed", response={"status": "completed"})], done=True
    )
    assert (await read(stream(model())))[1].tool_calls == (ToolCall("c1", "f", "{}"),)


async def test_a_call_is_told_of_while_it_comes(server, model, stream):
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": ""}
    pieces = [
        event("output_item.added", output_index=1, item=call),
        *(event("function_call_arguments.delta", output_index=1, delta=text) for text in ('{"a"', ": 1}")),
        event("output_item.done", output_index=1, item={**call, "arguments": '{"a": 1}'}),
    ]
    server.then_events([*pieces, event("completed", response={"status": "completed"})], done=True)
    came = [delta async for delta in stream(model())]
    assert [one for delta in came for one in delta.tool_call_pieces] == [
        *(ToolCallPiece(1, "c1", "f"), ToolCallPiece(1, arguments='{"a"'), ToolCallPiece(1, arguments=": 1}"))
    ]
    assert came[-1].tool_calls == (ToolCall("c1", "f", '{"a": 1}'),)


async def test_a_text_that_comes_at_the_end_only_is_the_text(server, model, stream):
    server.then_events([event("completed", response=reply(message("One")))], done=False)
    assert (await read(stream(model())))[0] == "One"


async def test_thoughts_are_told_apart_and_from_each_other(server, model, stream):
    thoughts = [
        *(event("reasoning_summary_text.delta", delta=text) for text in ("Fi", "rst.")), event("reasoning_summary_text.done"),
        event("reasoning_summary_text.delta", delta="Second."), event("output_text.delta", delta="So"),
    ]  # fmt: skip
    server.then_events([*thoughts, event("completed", response=reply(message("So")))], done=False)
    came = [delta async for delta in stream(model())]
    assert "".join(delta.reasoning or "" for delta in came) == "First.\n\nSecond."
    assert "".join(delta.text for delta in came) == "So"


@pytest.mark.fault("T03")
@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        ({"type": "error", "code": "server_error", "message": "Sorry."}, Unavailable),
        ({"type": "error", "error": {"code": "rate_limit_exceeded", "message": "Slow."}}, RateLimited),
        ({"error": {"code": 502, "message": "gateway"}}, Unavailable),
        (event("failed", response=reply(status="failed", error={"code": "server_error", "message": "S"})), Unavailable),
        (
            event("incomplete", response=reply(status="incomplete", incomplete_details={"reason": "content_filter"})),
            ContentFiltered,
        ),
        ("data: {nonsense\n\n", ProtocolError),
        (": nothing more\n\n", ProtocolError),
    ],
)
async def test_a_fault_after_the_first_piece_is_final(server, model, stream, broken, kind):
    server.then_events([event("output_text.delta", delta="One"), broken], done=False)
    with pytest.raises(kind) as caught:
        await read(stream(model(num_retries=3)))
    assert caught.value.partial == "One"
    assert len(server.requests) == 1


@pytest.mark.fault("T07")
async def test_endless_text_is_left_at_the_limit(server, model, stream):
    server.then_events([event("output_text.delta", delta="x" * 600_000)] * 8, done=False)
    with pytest.raises(ProtocolError, match="4194304"):
        await read(stream(model()))


async def test_openai_is_not_called_without_a_key(ask):
    for model_type in ("responses", "text"):
        with pytest.raises(AuthError, match="OPENAI_API_KEY"):
            await ask(dspex.LM("openai/gpt-4o", model_type, cache=False))


async def test_whom_openai_bills_is_told(server, model, ask):
    server.then(200, json=reply(message("4")))
    await ask(model(api_key="k", organization="org", project="proj"))
    told = [server.requests[0].headers[name] for name in ("authorization", "openai-organization", "openai-project")]
    assert told == ["Bearer k", "org", "proj"]


def test_a_model_that_is_known_keeps_its_capabilities():
    lm = dspex.LM("openai/gpt-5", "responses", api_key="k")
    assert (lm.capabilities.reasoning, lm.capabilities.n) == (True, False)


def test_a_copy_may_change_the_api(model):
    assert model().copy(model_type="chat").service.provider._url.endswith("/chat/completions")
