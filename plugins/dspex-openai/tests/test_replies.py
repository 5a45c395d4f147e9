"""Replies of every kind, good and bad."""

import json

import pytest

import dspex
from dspex.plugin import ContentFiltered, ProtocolError, RateLimited, ToolCall, Unavailable


def reply(content="Hi.", finish_reason="stop", **more):
    message = {"role": "assistant", "content": content, **more}
    return {
        "id": "r1",
        "model": "acme-1-0",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
    }


@pytest.fixture
def answer(server, lm, ask):
    """The reply, or the error, that a body becomes."""

    async def answer(body, **options):
        server.then(200, body if isinstance(body, bytes) else json.dumps(body))
        return await ask(lm(**options))

    return answer


async def test_a_whole_reply_has_text_usage_model_and_id(answer):
    usage = {
        "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 12},
    }  # fmt: skip
    got = await answer({**reply("4"), "usage": usage})
    assert (got.text, got.model, got.id) == ("4", "acme-1-0", "r1")
    assert got.choices[0].finish_reason == "stop"
    assert got.usage == dspex.Usage(100, 20, 64, 12)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_what_a_model_thinks_is_kept_apart(answer, name):
    choice = (await answer(reply("4", **{name: "2 and 2"}))).choices[0]
    assert (choice.text, choice.reasoning) == ("4", "2 and 2")


async def test_content_in_parts_is_joined(answer):
    assert (
        await answer(reply([{"type": "thinking"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]))
    ).text == "ab"


async def test_what_is_thought_in_parts_is_kept_apart(server, lm, ask, stream):
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "2 and "}, {"type": "text", "text": "2"}]}
    content = [thinking, {"type": "text", "text": "4"}]
    server.then(200, json.dumps(reply(content)))
    choice = (await ask(lm())).choices[0]
    assert (choice.text, choice.reasoning) == ("4", "2 and 2")
    deltas = [{"content": [thinking]}, {"content": "4"}]
    server.then_events(
        [*({"choices": [{"delta": delta}]} for delta in deltas), {"choices": [{"finish_reason": "stop"}]}]
    )
    came = [delta async for delta in stream(lm())]
    assert [(delta.text, delta.reasoning) for delta in came[:2]] == [("", "2 and 2"), ("4", None)]


async def test_thoughts_that_are_counted_beside_the_completion_are_paid_too(answer):
    """As xAI counts them: the whole is the sum of the three."""
    usage = {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135}
    got = await answer({**reply("4"), "usage": {**usage, "completion_tokens_details": {"reasoning_tokens": 94}}})
    assert got.usage == dspex.Usage(32, 103, 0, 94)


@pytest.mark.parametrize(
    ("theirs", "ours"), [("model_length", "length"), ("eos", "stop"), ("new_reason", "new_reason")]
)
async def test_a_reason_to_end_is_in_openais_words_where_it_has_one(server, lm, ask, stream, theirs, ours):
    server.then(200, json.dumps(reply("4", theirs)))
    assert (await ask(lm())).choices[0].finish_reason == ours
    server.then_events([{"choices": [{"delta": {"content": "4"}, "finish_reason": theirs}]}])
    assert [delta async for delta in stream(lm())][-1].finish_reason == ours


@pytest.mark.parametrize("reason", ["insufficient_system_resource", "abort", "error"])
async def test_a_reply_that_the_service_broke_off_is_no_answer(server, lm, ask, stream, reason):
    server.then(200, json.dumps(reply("Half an ans", reason)))
    with pytest.raises(Unavailable, match=reason):
        await ask(lm())
    server.then_events([{"choices": [{"delta": {"content": "Half"}}]}, {"choices": [{"finish_reason": reason}]}])
    with pytest.raises(Unavailable, match=reason) as caught:
        [delta async for delta in stream(lm())]
    assert (caught.value.partial, caught.value.retryable) == ("Half", False)


async def test_an_error_within_a_choice_is_told_as_what_it_is(answer):
    """As OpenRouter has it, where a service behind it fails."""
    broken = reply("", "error")
    broken["choices"][0]["error"] = {"code": 429, "message": "upstream is busy"}
    with pytest.raises(RateLimited, match="upstream is busy"):
        await answer(broken)


async def test_logprobs_are_kept_as_they_came(answer):
    body = reply()
    body["choices"][0]["logprobs"] = logprobs = {"content": [{"token": "Hi", "logprob": -0.1, "top_logprobs": []}]}
    assert (await answer(body)).choices[0].logprobs == logprobs


NO_CHOICES = {
    "empty": b'{"choices": []}', "absent": b"{}", "null": b'{"choices": null}', "wrong-type": b'{"choices": {"0": 1}}',
    "a-list": b"[1, 2]", "of-null": b'{"choices": [null]}', "a-number": b"7",
}  # fmt: skip


@pytest.mark.fault("B01")
@pytest.mark.parametrize("body", NO_CHOICES.values(), ids=NO_CHOICES.keys())
async def test_a_reply_without_choices_is_a_protocol_error_worth_one_more_attempt(server, lm, ask, body):
    server.then(200, body, times=None)
    with pytest.raises(ProtocolError):
        await ask(lm())
    assert len(server.requests) == 1


@pytest.mark.fault("B02")
@pytest.mark.parametrize("body", [reply(None), {"choices": [{"finish_reason": "stop"}]}], ids=["null", "no-message"])
async def test_a_choice_without_anything_in_it_is_a_protocol_error(answer, body):
    with pytest.raises(ProtocolError, match="neither text nor a tool call"):
        await answer(body)


@pytest.mark.fault("B02")
async def test_a_refusal_is_content_filtered_with_its_words(answer):
    with pytest.raises(ContentFiltered, match="I will not"):
        await answer(reply(None, refusal="I will not."))


@pytest.mark.fault("B03")
@pytest.mark.parametrize("content", [None, "", "Half of"])
async def test_a_reply_cut_by_max_tokens_says_so_even_where_thinking_took_all(answer, content):
    choice = (await answer(reply(content, finish_reason="length"))).choices[0]
    assert (choice.text, choice.finish_reason) == (content or "", "length")


@pytest.mark.fault("B04")
async def test_a_reply_that_a_policy_cut_is_content_filtered(answer):
    with pytest.raises(ContentFiltered):
        await answer(reply("Half of", finish_reason="content_filter"))


@pytest.mark.fault("B05")
@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": "Hi."}}]},
        {**reply("Hi.", finish_reason="eos"), "id": None, "model": None, "usage": None, "timings": {"x": [1e9]}},
        {
            **reply("Hi.", tool_calls=None, refusal=None, annotations=[{}]),
            "usage": {"prompt_tokens": None},
            "error": None,
        },
    ],
    ids=["sparse", "unknown", "nulls"],
)
async def test_a_sparse_or_a_strange_reply_is_an_answer(answer, body):
    got = await answer(body)
    assert got.text == "Hi."
    assert got.usage is not None


@pytest.mark.fault("B05")
async def test_usage_that_did_not_come_is_estimated_and_marked(answer):
    assert (await answer(reply("Hi."))).usage.estimated


@pytest.mark.fault("B06")
@pytest.mark.parametrize("bad", [b"\xff", rb"\ud800"], ids=["utf-8", "surrogate"])
@pytest.mark.parametrize("place", ["id", "content"])
async def test_broken_text_is_an_answer_that_prints(answer, bad, place):
    body = json.dumps(reply("Hi MARK" if place == "content" else "Hi")).encode()
    got = await answer(b"\xef\xbb\xbf" + body.replace(b"MARK" if place == "content" else b"r1", bad))
    assert got.text == ("Hi \ufffd" if place == "content" else "Hi")
    assert "\ufffd" in f"{got.text} {got.id}".encode().decode()


@pytest.mark.fault("B07")
@pytest.mark.parametrize("number", ["NaN", "Infinity", "9" * 6000, "1e400"], ids=["nan", "inf", "digits", "1e400"])
async def test_an_impossible_number_where_it_is_read_is_a_protocol_error(answer, number):
    with pytest.raises(ProtocolError):
        await answer(b'{"usage": {"prompt_tokens": %s}, "choices": []}' % number.encode())


@pytest.mark.fault("B08")
async def test_deep_nesting_is_a_protocol_error(answer):
    with pytest.raises(ProtocolError):
        await answer(b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b', "choices": []}')


def called(*calls):
    return reply(None, finish_reason="tool_calls", tool_calls=list(calls))


def call(call_id, name="f", arguments="{}", **more):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


async def test_tool_calls_come_with_their_arguments_as_text(answer):
    choice = (await answer(called(call("c1", "add", '{"a": 1}'), call("c2", "now", "")))).choices[0]
    assert choice.tool_calls == (ToolCall("c1", "add", '{"a": 1}'), ToolCall("c2", "now", "{}"))
    assert choice.text == ""


@pytest.mark.fault("B09")
@pytest.mark.parametrize("arguments", ['{"a": ', '{"a": 1}}'])
async def test_arguments_that_are_no_json_are_handed_on_as_they_came(answer, arguments):
    [made] = (await answer(called(call("c1", "add", arguments)))).choices[0].tool_calls
    assert made.arguments == arguments


async def test_arguments_that_came_decoded_are_text_again(answer):
    [made] = (await answer(called(call("c1", "add", {"a": 1})))).choices[0].tool_calls
    assert json.loads(made.arguments) == {"a": 1}


@pytest.mark.fault("B10")
async def test_two_calls_of_one_id_or_of_none_are_kept_apart(answer):
    calls = (await answer(called(call("c", "f"), call("c", "g"), call(None, "h"), call("", "i")))).choices[0].tool_calls
    assert [made.name for made in calls] == ["f", "g", "h", "i"]
    assert len({made.id for made in calls}) == 4


@pytest.mark.fault("B11")
async def test_more_choices_than_asked_for_are_cut(server, lm, ask):
    server.then(200, json={"choices": [{"index": i, "message": {"content": str(i)}} for i in range(5)]})
    assert [choice.text for choice in (await ask(lm(server="vllm"), n=3)).choices] == ["0", "1", "2"]


@pytest.mark.fault("B11")
@pytest.mark.parametrize("came", [1, 2])
async def test_fewer_choices_than_asked_for_are_what_came_and_a_warning(server, lm, ask, came):
    filtered = {"index": 9, "message": {"content": ""}, "finish_reason": "content_filter"}
    good = [{"index": i, "message": {"content": str(i)}} for i in range(came)]
    server.then(200, json={"choices": [filtered, *good]})
    with pytest.warns(RuntimeWarning, match=f"{came} of 3"):
        assert len((await ask(lm(server="vllm"), n=3)).choices) == came


@pytest.mark.fault("S15")
@pytest.mark.parametrize(
    ("error", "kind"),
    [({"code": 502, "message": "upstream"}, Unavailable), ({"code": "rate_limit_exceeded"}, RateLimited),
     ({"message": "something"}, ProtocolError), ("just words", ProtocolError)],
    ids=["number", "code", "absent", "text"],
)  # fmt: skip
async def test_an_error_in_a_good_reply_is_mapped_by_its_code(answer, error, kind):
    with pytest.raises(kind):
        await answer({"error": error})


@pytest.mark.fault("N20")
async def test_a_web_page_is_no_reply(answer):
    with pytest.raises(ProtocolError, match=r"web page.*api_base"):
        await answer(b"<html><body>Log in</body></html>")
