"""Streams: equal to the whole reply, or an error that has what came; cuts and faults are the kit's (test_contract)."""

import pytest

from dspex.plugin import ContentFiltered, ProtocolError, RateLimited, ToolCall, ToolCallPiece, Unavailable, Usage


async def read(deltas):
    came = [delta async for delta in deltas]
    return "".join(delta.text for delta in came), came[-1]


USAGE = {"promptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 4}


async def test_a_stream_ends_with_reason_and_usage(server, lm, stream, reply):
    early = {"promptTokenCount": 3, "candidatesTokenCount": 1}
    pieces = [reply("One", reason=None, usageMetadata=early), reply(" two", usageMetadata=USAGE)]
    server.then_events(pieces, done=False, end="hang")
    text, end = await read(stream(lm()))
    assert text == "One two"
    assert (end.finish_reason, end.usage) == ("stop", Usage(3, 6, 0, 4))
    assert server.requests[0].path == "/models/acme-1:streamGenerateContent?alt=sse"


async def test_usage_that_comes_late_is_waited_for(server, lm, stream, reply):
    early = {"promptTokenCount": 3}
    server.then_events(
        [reply("One", reason=None, usageMetadata=early), reply(), {"usageMetadata": USAGE}], done=False, end="hang"
    )
    assert (await read(stream(lm())))[1].usage == Usage(3, 6, 0, 4)


async def test_calls_of_several_pieces_are_gathered(server, lm, stream, reply):
    parts = [{"functionCall": {"name": name, "args": {"a": 1}}} for name in ("f", "g")]
    server.then_events([reply(parts[0], reason=None), reply(parts[1], usageMetadata=USAGE)], done=False)
    came = [one async for one in stream(lm())]
    told, end = [one.tool_call_pieces for one in came], came[-1]
    f, g = (ToolCallPiece(place, name=name, arguments='{"a":1}') for place, name in enumerate("fg"))
    assert told == [(f,), (g,), ()]
    assert end.tool_calls == (ToolCall("call_0", "f", '{"a":1}'), ToolCall("call_1", "g", '{"a":1}'))
    assert end.finish_reason == "tool_calls"


@pytest.mark.fault("T09")
async def test_what_does_not_belong_to_the_answer_is_passed_over(server, lm, stream, reply):
    other = {"candidates": [{"index": 1, "content": {"parts": [{"text": "other"}]}}]}
    pieces = [{}, other, reply({"inlineData": {}}, "One", {"executableCode": {}}, reason=None), {"news": 1}, reply()]
    server.then_events(pieces, done=False)
    assert (await read(stream(lm())))[0] == "One"


@pytest.mark.fault("T03")
@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        ({"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}, Unavailable),
        ("data: {nonsense\n\n", ProtocolError),
        (": nothing more\n\n", ProtocolError),
        ({"candidates": [{"finishReason": "SAFETY"}]}, ContentFiltered),
        ({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]}, ProtocolError),
    ],
    ids=["error", "bad-json", "end", "filtered", "broken-call"],
)
async def test_a_fault_after_the_first_piece_is_final(server, lm, stream, broken, kind, reply):
    server.then_events([reply("One", reason=None), broken], done=False)
    with pytest.raises(kind):
        await read(stream(lm(num_retries=3)))
    assert len(server.requests) == 1


@pytest.mark.fault("T04")
async def test_an_error_before_the_first_piece_is_tried_again(server, lm, stream, quick, reply):
    server.then_events([{"error": {"code": 503, "message": "later"}}], done=False)
    server.then_events([reply("One")], done=False)
    async with quick.app():
        assert (await read(stream(lm(num_retries=3))))[0] == "One"


async def test_a_prompt_that_is_blocked_is_content_filtered(server, lm, stream):
    server.then_events([{"promptFeedback": {"blockReason": "SAFETY"}}], done=False)
    with pytest.raises(ContentFiltered, match="SAFETY"):
        await read(stream(lm()))


@pytest.mark.fault("T07")
async def test_endless_text_is_left_at_the_limit(server, lm, stream, reply):
    server.then_events([reply("x" * 600_000, reason=None)] * 8, done=False)
    with pytest.raises(ProtocolError, match="4194304"):
        await read(stream(lm()))


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, Unavailable)])
async def test_a_refused_stream_is_refused_as_any_call(server, lm, stream, status, kind):
    server.then(status)
    with pytest.raises(kind):
        await read(stream(lm()))
