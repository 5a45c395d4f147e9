"""Replies of every kind, good and bad, whole and in pieces, and what refusals mean."""

import json

import pytest

from dspex.plugin import (
    BadRequest,
    ContentFiltered,
    ContextWindowExceeded,
    LMTimeout,
    ProtocolError,
    RateLimited,
    ToolCall,
    ToolCallPiece,
    Unavailable,
    Usage,
)


@pytest.fixture
def answer(server, lm, ask):
    """The reply, or the error, that a body becomes."""

    async def answer(body, **asked):
        server.then(200, body if isinstance(body, bytes) else json.dumps(body))
        return await ask(lm(), **asked)

    return answer


async def read(deltas):
    came = [delta async for delta in deltas]
    return "".join(delta.text for delta in came), came[-1]


async def test_a_whole_reply_has_text_thought_and_usage(answer, reply):
    usage = {"inputTokens": 30, "outputTokens": 9, "cacheReadInputTokens": 64, "cacheWriteInputTokens": 6}
    thoughts = [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": "x"}},
    ]
    got = await answer(reply(*thoughts, "4", "2", {"citationsContent": {}}, usage=usage))
    [choice] = got.choices
    assert (got.text, choice.reasoning, choice.finish_reason) == ("42", "Hm.", "stop")
    assert got.usage == Usage(100, 9, 64, written_tokens=6)


async def test_calls_have_ids_of_their_own(answer, reply):
    calls = [{"toolUse": {"toolUseId": given, "name": "f", "input": {"a": 1}}} for given in ("c1", "c1", None)]
    [choice] = (await answer(reply("Wait.", *calls, reason="tool_use"))).choices
    assert [call.id for call in choice.tool_calls] == ["c1", "c1_1", "call_2"]
    assert (choice.tool_calls[0].arguments, choice.finish_reason) == ('{"a": 1}', "tool_calls")


@pytest.mark.parametrize(
    ("reason", "finish_reason"),
    [
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("news", "news"),
    ],
)
async def test_why_it_ended_is_told_in_openais_words(answer, reply, reason, finish_reason):
    assert (await answer(reply("x", reason=reason))).choices[0].finish_reason == finish_reason


BAD_ENDS = [
    ("guardrail_intervened", ContentFiltered, "Not that"), ("content_filtered", ContentFiltered, "content_filtered"),
    ("malformed_tool_use", ProtocolError, "malformed_tool_use"),
]  # fmt: skip


@pytest.mark.fault("B04")
@pytest.mark.parametrize(("reason", "kind", "words"), BAD_ENDS)
async def test_a_bad_end_is_an_error_whole_and_in_pieces(answer, reply, frames, lm, stream, reason, kind, words):
    with pytest.raises(kind, match=words):
        await answer(reply("Not that.", reason=reason))
    frames(("contentBlockDelta", {"delta": {"text": "Not that."}}), ("messageStop", {"stopReason": reason}))
    with pytest.raises(kind, match=words):
        await read(stream(lm()))


@pytest.mark.parametrize("body", [{}, {"output": {"message": {}}}, {"output": 1}, b"[1]"])
async def test_a_reply_without_an_answer_is_a_protocol_error(answer, body):
    with pytest.raises(ProtocolError):
        await answer(body)


@pytest.mark.parametrize(
    ("status", "said", "kind", "words"),
    [
        (400, "Input is too long for requested model.", ContextWindowExceeded, "longer"),
        (400, "The provided model identifier is invalid.", BadRequest, "identifier is invalid"),
        (404, "Could not resolve the foundation model.", BadRequest, "does not know the model"),
        (408, "Model timeout.", LMTimeout, "gave up"),
        (424, "The model has failed.", Unavailable, "has failed"),
        (429, "Too many requests, please wait.", RateLimited, "limits the rate"),
        (429, "Too many tokens per day, please wait before trying again.", RateLimited, "tokens of the day"),
        (503, "Bedrock is unable to process your request.", Unavailable, "unable"),
    ],
)
async def test_a_refusal_is_told_by_its_own_class(server, lm, ask, status, said, kind, words):
    server.then(status, json={"message": said})
    with pytest.raises(kind, match=words) as caught:
        await ask(lm())
    assert caught.value.status == status
    assert caught.value.retryable is (False if "of the day" in words else None)


async def test_a_stream_ends_with_reason_and_usage(server, frames, lm, stream):
    thought = {"delta": {"reasoningContent": {"text": "Hm."}}}
    frames(
        ("messageStart", {"role": "assistant"}), ("contentBlockDelta", thought),
        *(("contentBlockDelta", {"delta": {"text": text}, "contentBlockIndex": 1}) for text in ("One", " two")),
        ("news", {"x": 1}), ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": {"inputTokens": 3, "outputTokens": 2}}), end="hang",
    )  # fmt: skip
    came = [delta async for delta in stream(lm())]
    assert "".join(delta.text for delta in came) == "One two"
    assert came[0].reasoning == "Hm."
    assert (came[-1].finish_reason, came[-1].usage) == ("stop", Usage(3, 2))
    assert server.requests[0].path == "/model/acme-1/converse-stream"


async def test_pieces_of_calls_are_put_together(frames, lm, stream):
    def begins(index, name):
        return (
            "contentBlockStart",
            {"contentBlockIndex": index, "start": {"toolUse": {"toolUseId": f"t{index}", "name": name}}},
        )

    def goes_on(index, text):
        return ("contentBlockDelta", {"contentBlockIndex": index, "delta": {"toolUse": {"input": text}}})

    frames(
        begins(0, "add"), goes_on(0, ""), goes_on(0, '{"a"'), begins(1, "now"), goes_on(0, ": 1}"),
        ("messageStop", {"stopReason": "tool_use"}),
    )  # fmt: skip
    came = [one async for one in stream(lm())]
    told, end = [one for piece in came for one in piece.tool_call_pieces], came[-1]
    assert told == [
        *(ToolCallPiece(0, "t0", "add"), ToolCallPiece(0, arguments='{"a"'), ToolCallPiece(1, "t1", "now")),
        ToolCallPiece(0, arguments=": 1}"),
    ]
    assert end.tool_calls == (ToolCall("t0", "add", '{"a": 1}'), ToolCall("t1", "now", "{}"))


EXCEPTION = {":message-type": "exception", ":exception-type": "throttlingException"}
ERROR = {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "Sorry."}


@pytest.mark.fault("T03")
@pytest.mark.parametrize(
    ("headers", "payload", "kind", "words"),
    [
        (EXCEPTION, {"message": "Slow down."}, RateLimited, "Slow down"),
        ({**EXCEPTION, ":exception-type": "modelStreamErrorException"}, {"message": "Bad."}, Unavailable, "Bad"),
        (
            {**EXCEPTION, ":exception-type": "validationException"},
            {"message": "Input is too long"},
            ContextWindowExceeded,
            "too long",
        ),
        (ERROR, {}, Unavailable, "Sorry"),
        ({}, b"{nonsense", ProtocolError, "JSON"),
        ({}, {"delta": {"toolUse": {"input": "}"}}}, ProtocolError, "belongs to no call"),
    ],
)
async def test_a_fault_after_the_first_piece_is_final(server, frames, lm, stream, headers, payload, kind, words):
    broken = frames.frame("contentBlockDelta", payload, **headers)
    frames(("contentBlockDelta", {"delta": {"text": "One"}}), broken)
    with pytest.raises(kind, match=words) as caught:
        await read(stream(lm(num_retries=3)))
    assert caught.value.partial == "One"
    assert len(server.requests) == 1


@pytest.mark.parametrize("place", [1, 9, 30, -1], ids=["length", "prelude", "header", "checksum"])
async def test_a_frame_that_was_changed_on_its_way_is_a_protocol_error(frames, lm, stream, place):
    good = bytearray(frames.frame("contentBlockDelta", {"delta": {"text": "One"}}))
    good[place] ^= 1
    frames(bytes(good), ("messageStop", {"stopReason": "end_turn"}))
    with pytest.raises(ProtocolError):
        await read(stream(lm()))


@pytest.mark.fault("T07")
async def test_endless_text_is_left_at_the_limit(frames, lm, stream):
    frames(*[("contentBlockDelta", {"delta": {"text": "x" * 600_000}})] * 8)
    with pytest.raises(ProtocolError, match="4194304"):
        await read(stream(lm()))
