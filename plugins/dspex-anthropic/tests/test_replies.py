"""Replies of every kind, good and bad, and what refusals mean."""

import json

import pytest

import dspex
from dspex.plugin import (
    BadRequest,
    ContentFiltered,
    ContextWindowExceeded,
    ProtocolError,
    RateLimited,
    ToolCall,
    Unavailable,
)


def reply(*blocks, stop_reason="end_turn", **more):
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "acme-1-0", "content": list(blocks),
        "stop_reason": stop_reason, "stop_sequence": None, **more,
    }  # fmt: skip


def text(said):
    return {"type": "text", "text": said}


def call(call_id, name="f", **arguments):
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


@pytest.fixture
def answer(server, lm, ask):
    """The reply, or the error, that a body becomes."""

    async def answer(body, **options):
        server.then(200, body if isinstance(body, bytes) else json.dumps(body))
        return await ask(lm(**options))

    return answer


async def test_a_whole_reply_has_text_usage_model_and_id(answer):
    usage = {
        "input_tokens": 30, "cache_creation_input_tokens": 6, "cache_read_input_tokens": 64, "output_tokens": 20,
        "output_tokens_details": {"thinking_tokens": 12}, "service_tier": "standard",
    }  # fmt: skip
    got = await answer(reply(text("4"), text("2"), usage=usage))
    assert (got.text, got.model, got.id) == ("42", "acme-1-0", "msg_1")
    assert got.choices[0].finish_reason == "stop"
    assert got.usage == dspex.Usage(100, 20, 64, 12, written_tokens=6)


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("tool_use", "stop"),
        ("model_context_window_exceeded", "length"), ("pause_turn", "pause_turn"), (None, None),
    ],
)  # fmt: skip
async def test_why_a_reply_ended_is_said_in_the_fields_words(answer, stop_reason, finish_reason):
    assert (await answer(reply(text("4"), stop_reason=stop_reason))).choices[0].finish_reason == finish_reason


async def test_what_a_model_thinks_is_kept_apart(answer):
    thought = {"type": "thinking", "thinking": "2 and 2", "signature": "s"}
    choice = (await answer(reply(thought, {"type": "redacted_thinking", "data": "x"}, text("4")))).choices[0]
    assert (choice.text, choice.reasoning) == ("4", "2 and 2")


async def test_calls_of_tools_come_with_their_arguments_as_text(answer):
    choice = (await answer(reply(text("Hm."), call("t1", "add", a=1), call("t2"), stop_reason="tool_use"))).choices[0]
    assert choice.tool_calls == (ToolCall("t1", "add", '{"a": 1}'), ToolCall("t2", "f", "{}"))
    assert (choice.text, choice.finish_reason) == ("Hm.", "tool_calls")


@pytest.mark.fault("B10")
async def test_two_calls_of_one_id_or_of_none_are_kept_apart(answer):
    calls = (await answer(reply(call("t", "f"), call("t", "g"), call(None, "h"), call("", "i")))).choices[0].tool_calls
    assert [made.name for made in calls] == ["f", "g", "h", "i"]
    assert len({made.id for made in calls}) == 4


async def test_blocks_of_tools_that_run_at_anthropic_are_passed_over(answer):
    search = [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
              {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "u"}]}]  # fmt: skip
    choice = (await answer(reply(*search, text("4")))).choices[0]
    assert (choice.text, choice.tool_calls) == ("4", ())


@pytest.mark.fault("B02")
@pytest.mark.parametrize("body", [{"stop_reason": "end_turn"}, {"content": None}, {"type": "message"}])
async def test_a_reply_without_content_is_a_protocol_error(answer, body):
    with pytest.raises(ProtocolError, match="no content"):
        await answer(body)


async def test_a_reply_of_nothing_is_an_answer_of_nothing(answer):
    assert (await answer(reply())).text == ""


@pytest.mark.fault("B04")
@pytest.mark.parametrize("details", [None, {"explanation": "It may do harm."}], ids=["bare", "explained"])
async def test_a_refusal_is_content_filtered_with_its_words(answer, details):
    with pytest.raises(ContentFiltered, match="It may do harm" if details else "refuses") as caught:
        await answer(reply(stop_reason="refusal", stop_details=details))
    assert caught.value.code == "refusal"


@pytest.mark.fault("B05")
async def test_usage_that_did_not_come_is_estimated_and_marked(answer):
    assert (await answer(reply(text("Hi.")))).usage.estimated


@pytest.mark.fault("B06")
@pytest.mark.parametrize("bad", [b"\xff", rb"\ud800"], ids=["utf-8", "surrogate"])
async def test_broken_text_is_an_answer_that_prints(answer, bad):
    body = json.dumps(reply(text("Hi MARK"), call("t", a="MARK"), stop_reason="tool_use")).encode()
    choice = (await answer(body.replace(b"MARK", bad))).choices[0]
    assert choice.text == "Hi \ufffd"
    assert choice.tool_calls[0].arguments.encode()


def refusal(kind, message="no"):
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "kind", "message", "raised"),
    [
        (529, "overloaded_error", "Overloaded", Unavailable),
        (500, "api_error", "Internal server error", Unavailable),
        (504, "timeout_error", "The request timed out", dspex.LMTimeout),
        (429, "rate_limit_error", "Number of request tokens has exceeded your per-minute rate limit", RateLimited),
        (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", ContextWindowExceeded),
        (400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 9 + 8 > 10", ContextWindowExceeded),
        (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API", RateLimited),
        (402, "billing_error", "There is an issue with your billing", RateLimited),
        (400, "invalid_request_error", "messages.0: at least one block is needed", BadRequest),
        (413, "request_too_large", "Request exceeds the maximum size", BadRequest),
        (404, "not_found_error", "model: acme-1", BadRequest),
        (403, "permission_error", "no", dspex.AuthError),
    ],
)  # fmt: skip
async def test_a_refusal_is_the_error_that_it_means(server, lm, ask, status, kind, message, raised):
    server.then(status, json=refusal(kind, message), headers={"request-id": "req_1"})
    with pytest.raises(raised) as caught:
        await ask(lm())
    assert type(caught.value) is raised
    assert (caught.value.status, caught.value.request_id) == (status, "req_1")
    assert "anthropic/acme-1" in str(caught.value)
    if "credit" in message or status == 402:
        assert caught.value.retryable is False


@pytest.mark.fault("S15")
@pytest.mark.parametrize(("kind", "raised"), [("overloaded_error", Unavailable), ("rate_limit_error", RateLimited)])
async def test_an_error_in_a_good_reply_is_mapped_by_its_type(answer, kind, raised):
    with pytest.raises(raised):
        await answer(refusal(kind))


@pytest.mark.parametrize("unit", ["requests", "tokens"])
async def test_what_headers_say_of_the_limits_is_obeyed_by_the_next_call(server, lm, ask, unit):
    headers = {
        f"anthropic-ratelimit-{unit}-limit": "50",
        f"anthropic-ratelimit-{unit}-remaining": "0",
        f"anthropic-ratelimit-{unit}-reset": "2026-01-01T00:01:30Z",
        "Date": "Thu, 01 Jan 2026 00:00:00 GMT",
    }
    server.then(200, json=reply(text("Hi.")), headers=headers, times=None)
    async with dspex.App():
        await ask(lm(timeout=5.0))
        with pytest.raises(RateLimited):
            await ask(lm(timeout=5.0))
    assert len(server.requests) == 1


async def test_calls_reach_a_program_that_offers_tools(server, lm):
    tools = [dspex.Tool(lambda city: city, name="look_up", args={"city": {"type": "string"}}, desc="Looks up.")]
    server.then(200, json=reply(call("t1", "look_up", city="Oslo"), stop_reason="tool_use"))
    adapter = dspex.ChatAdapter(use_native_function_calling=True)
    with dspex.context(lm=lm(), adapter=adapter):
        found = await dspex.Predict("question, tools: list[dspex.Tool] -> tool_calls: dspex.ToolCalls").acall(
            question="?", tools=tools
        )
    assert [(one.name, one.args) for one in found.tool_calls] == [("look_up", {"city": "Oslo"})]
    assert server.requests[0].json["tools"][0]["name"] == "look_up"
