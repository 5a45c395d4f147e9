"""Replies of every kind, good and bad, and what refusals mean."""

import json

import pytest

import dspex
from dspex.plugin import (
    AuthError,
    BadRequest,
    ContentFiltered,
    ContextWindowExceeded,
    LMTimeout,
    ProtocolError,
    RateLimited,
    ToolCall,
    Unavailable,
)


@pytest.fixture
def answer(server, lm, ask):
    """The reply, or the error, that a body becomes."""

    async def answer(body, n=1, **options):
        server.then(200, body if isinstance(body, bytes) else json.dumps(body))
        return await ask(lm(**options), n=n)

    return answer


def call(name="f", **more):
    return {"functionCall": {"name": name, "args": {"a": 1}, **more}}


async def test_a_whole_reply_has_text_usage_model_and_id(answer, reply):
    usage = {
        "promptTokenCount": 90, "toolUsePromptTokenCount": 10, "cachedContentTokenCount": 64, "candidatesTokenCount": 8,
        "thoughtsTokenCount": 12, "totalTokenCount": 120, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 90}],
    }  # fmt: skip
    got = await answer(reply("4", "2", usageMetadata=usage))
    assert (got.text, got.model, got.id) == ("42", "acme-1-0", "r1")
    assert got.choices[0].finish_reason == "stop"
    assert got.usage == dspex.Usage(100, 20, 64, 12)


@pytest.mark.parametrize(
    ("reason", "finish_reason"), [("STOP", "stop"), ("MAX_TOKENS", "length"), ("OTHER", "other"), (None, None)]
)
async def test_why_it_ended_is_told_in_openais_words(answer, reason, finish_reason, reply):
    assert (await answer(reply("x", reason=reason))).choices[0].finish_reason == finish_reason


async def test_thoughts_are_told_apart_from_the_text(answer, reply):
    [choice] = (
        await answer(reply({"text": "Two and ", "thought": True}, "Fo", {"text": "two.", "thought": True}, "ur"))
    ).choices
    assert (choice.text, choice.reasoning) == ("Four", "Two and two.")


async def test_calls_have_ids_of_their_own(answer, reply):
    parts = [call(), call("g", id="x7"), call("g", id="x7"), {"functionCall": {"name": "now"}}]
    [choice] = (await answer(reply("Wait.", *parts))).choices
    assert choice.tool_calls == (
        ToolCall("call_0", "f", '{"a": 1}'), ToolCall("x7", "g", '{"a": 1}'), ToolCall("call_2", "g", '{"a": 1}'),
        ToolCall("call_3", "now", "{}"),
    )  # fmt: skip
    assert choice.finish_reason == "tool_calls"


async def test_log_probabilities_have_openais_form(answer, reply):
    body = reply("Hé")
    body["candidates"][0]["logprobsResult"] = {
        "chosenCandidates": [
            {"token": "H", "tokenId": 1, "logProbability": -0.5},
            {"token": "é", "logProbability": -1.0},
        ],
        "topCandidates": [{"candidates": [{"token": "J", "logProbability": -2.0}]}],
    }
    [choice] = (await answer(body)).choices
    first = {"token": "H", "logprob": -0.5, "bytes": [72]}
    assert choice.logprobs["content"] == [
        {**first, "top_logprobs": [{"token": "J", "logprob": -2.0, "bytes": [74]}]},
        {"token": "é", "logprob": -1.0, "bytes": [195, 169], "top_logprobs": []},
    ]


@pytest.mark.fault("B04")
@pytest.mark.parametrize("reason", ["SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII"])
async def test_a_reply_that_was_stopped_is_content_filtered(answer, reason):
    body = {"candidates": [{"finishReason": reason, "finishMessage": "Stopped."}]}
    with pytest.raises(ContentFiltered, match=f"{reason}.*Stopped") as caught:
        await answer(body)
    assert caught.value.code == reason.lower()


async def test_a_prompt_that_was_blocked_is_content_filtered(answer):
    with pytest.raises(ContentFiltered, match="PROHIBITED_CONTENT"):
        await answer(
            {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 3}}
        )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "no candidates"),
        ({"candidates": [{"finishReason": "STOP"}]}, "neither text nor a tool call"),
        ({"candidates": [{"content": {"role": "model"}, "finishReason": "STOP"}]}, "neither text"),
        ({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "call: f("}]}, "MALFORMED.*f\\("),
        ({"candidates": "x"}, "candidates"),
        (b"[1]", "JSON"),
    ],
)
async def test_a_reply_without_an_answer_is_a_protocol_error(answer, body, words):
    with pytest.raises(ProtocolError, match=words):
        await answer(body)


async def test_a_model_that_thinks_up_all_its_tokens_gives_a_short_answer(answer):
    [choice] = (await answer({"candidates": [{"finishReason": "MAX_TOKENS"}]})).choices
    assert (choice.text, choice.finish_reason) == ("", "length")


def refusal(status, message, *details):
    return {"error": {"code": status, "message": message, "status": "X", "details": list(details)}}


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
QUOTA = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}],
}
TOO_LONG = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, refusal(400, "API key not valid.", {"reason": "API_KEY_INVALID"}), AuthError, "api_key="),
        (400, refusal(400, TOO_LONG), ContextWindowExceeded, "longer than the model reads"),
        (400, refusal(400, "Invalid JSON payload."), BadRequest, "Invalid JSON payload"),
        (403, refusal(403, "Denied."), AuthError, "Denied"),
        (404, refusal(404, "models/acme-1 is not found."), BadRequest, "does not know the model"),
        (429, refusal(429, "Slow down.", RETRY), RateLimited, "Slow down"),
        (429, b"nonsense", RateLimited, "limits the rate"),
        (429, refusal(429, "Quota.", QUOTA, RETRY), RateLimited, "quota of the day"),
        (500, refusal(500, "Internal."), Unavailable, "Internal"),
        (503, refusal(503, "Overloaded."), Unavailable, "Overloaded"),
        (504, refusal(504, "Late."), LMTimeout, "Late"),
    ],
)
async def test_a_refusal_is_told_by_its_own_class(server, lm, ask, status, body, kind, words):
    server.then(status, body if isinstance(body, bytes) else json.dumps(body))
    with pytest.raises(kind, match=words) as caught:
        await ask(lm(api_key="sk-wrong-0123456789"))
    assert "0123456789" not in str(caught.value)
    assert caught.value.status == status or kind is AuthError


@pytest.mark.fault("S05")
async def test_a_call_comes_back_when_google_says(server, lm, ask, quick, reply):
    server.then(429, json=refusal(429, "Slow down.", RETRY)).then(200, json=reply("Hi."))
    async with quick.app():
        assert (await ask(lm(num_retries=1))).text == "Hi."
    assert max(quick.slept) >= 34.5


@pytest.mark.fault("S06")
async def test_a_quota_of_the_day_is_not_asked_again(server, lm, ask):
    server.then(429, json=refusal(429, "Quota.", QUOTA, RETRY))
    with pytest.raises(RateLimited):
        await ask(lm(num_retries=3))
    assert len(server.requests) == 1
