"""Replies of every kind, good and bad, and what refusals mean."""

import json

import pytest

from dspex.plugin import AuthError, BadRequest, ContextWindowExceeded, ProtocolError, ToolCall, Unavailable, Usage


@pytest.fixture
def answer(server, lm, ask):
    """The reply, or the error, that a body becomes."""

    async def answer(body, **asked):
        server.then(200, body if isinstance(body, bytes) else json.dumps(body))
        return await ask(lm(), **asked)

    return answer


async def test_a_whole_reply_has_text_usage_and_model(answer, reply):
    got = await answer(reply("42", message={"thinking": "Hm."}, total_duration=5))
    [choice] = got.choices
    assert (got.text, got.model, choice.finish_reason, choice.reasoning) == ("42", "acme-1", "stop", "Hm.")
    assert got.usage == Usage(3, 2)


async def test_why_it_ended_is_told_in_openais_words(answer, reply):
    for given, finish_reason in (("length", "length"), ("stop", "stop"), (None, "stop"), ("load", "load")):
        assert (await answer(reply("x", done_reason=given))).choices[0].finish_reason == finish_reason


async def test_calls_have_ids_of_their_own(answer, reply):
    f = {"name": "f", "arguments": {"a": 1}}
    calls = [
        {"function": f}, {"id": "c1", "function": f}, {"id": "c1", "function": f}, {"function": {"name": "now"}},
        {"function": {"name": "g", "arguments": '{"b": 2}'}},
    ]  # fmt: skip
    [choice] = (await answer(reply(None, message={"tool_calls": calls}))).choices
    assert choice.tool_calls == (
        ToolCall("call_0", "f", '{"a": 1}'), ToolCall("c1", "f", '{"a": 1}'), ToolCall("c1_2", "f", '{"a": 1}'),
        ToolCall("call_3", "now", "{}"), ToolCall("call_4", "g", '{"b": 2}'),
    )  # fmt: skip
    assert (choice.text, choice.finish_reason) == ("", "tool_calls")


async def test_log_probabilities_have_openais_form(answer, reply):
    given = [
        {"token": "4", "logprob": -0.5, "bytes": [52], "top_logprobs": [{"token": "5", "logprob": -2.0}]},
        {"token": "2", "logprob": -1},
    ]
    [choice] = (await answer(reply("42", logprobs=given), logprobs=True)).choices
    assert choice.logprobs["content"] == [
        {
            "token": "4",
            "logprob": -0.5,
            "bytes": [52],
            "top_logprobs": [{"token": "5", "logprob": -2.0, "bytes": None}],
        },
        {"token": "2", "logprob": -1, "bytes": None, "top_logprobs": []},
    ]


async def test_usage_that_did_not_come_is_estimated(answer):
    assert (await answer({"message": {"content": "x"}, "done": True})).usage.estimated


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "no message"),
        ({"message": {}, "done": True}, "neither text nor a tool call"),
        ({"message": {"content": "x"}, "done": False}, "not done"),
        ({"message": "x"}, "message"),
        (b"[1]", "JSON"),
    ],
)
async def test_a_reply_without_an_answer_is_a_protocol_error(answer, body, words):
    with pytest.raises(ProtocolError, match=words):
        await answer(body)


async def test_an_error_in_a_good_reply_is_a_failure_of_the_server(answer):
    with pytest.raises(Unavailable, match="unexpectedly stopped"):
        await answer({"error": "model runner has unexpectedly stopped"})


NO_MODEL = {"error": "model 'lama3.2' not found"}


async def test_a_model_that_is_not_there_is_named_beside_those_that_are(server, lm, ask, stream):
    tags = {"models": [{"name": "llama3.2:latest"}, {"name": "qwen3:8b"}]}
    server.then(404, json=NO_MODEL).then(200, json=tags).then(404, json=NO_MODEL).then(200, json={"models": []})
    words = r"no model 'lama3.2'. Get it by `ollama pull lama3.2`.*mean 'llama3.2:latest'.*Installed: llama3.2:latest, qwen3:8b"
    with pytest.raises(BadRequest, match=words):
        await ask(lm("lama3.2", num_retries=3))
    with pytest.raises(BadRequest, match="Installed: none"):
        [delta async for delta in stream(lm("lama3.2"))]
    assert [request.path for request in server.requests] == ["/api/chat", "/api/tags"] * 2


async def test_a_list_that_cannot_be_had_hides_no_error(server, lm, ask):
    server.then(404, json=NO_MODEL).then(500)
    with pytest.raises(BadRequest, match="ollama pull"):
        await ask(lm("lama3.2"))


@pytest.mark.parametrize(
    ("status", "said", "kind", "words"),
    [
        (404, "404 page not found", BadRequest, "api_base"),
        (400, "model 'x' does not support tools", BadRequest, "does not support tools"),
        (400, "the input length exceeds the context length", ContextWindowExceeded, "longer"),
        (401, "unauthorized", AuthError, "OLLAMA_API_KEY"),
        (
            500,
            "model requires more system memory (9.1 GiB) than is available (4.0 GiB)",
            Unavailable,
            "smaller num_ctx",
        ),
        (503, "server busy, please try again.  maximum pending requests exceeded", Unavailable, "busy"),
    ],
)
async def test_a_refusal_is_told_by_its_own_class(server, lm, ask, status, said, kind, words):
    server.then(status, json={"error": said})
    with pytest.raises(kind, match=words) as caught:
        await ask(lm())
    assert caught.value.status == status


async def test_too_little_memory_is_not_tried_again(server, lm, ask):
    server.then(500, json={"error": "model requires more system memory (9 GiB) than is available (4 GiB)"})
    with pytest.raises(Unavailable):
        await ask(lm(num_retries=3))
    assert len(server.requests) == 1
