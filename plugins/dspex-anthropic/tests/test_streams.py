"""Streams: equal to the whole reply, or an error that has what came; cuts and faults are the kit's (test_contract)."""

import pytest

from dspex.plugin import (
    ContentFiltered,
    LMTimeout,
    ProtocolError,
    RateLimited,
    ToolCall,
    ToolCallPiece,
    Unavailable,
    Usage,
)


async def read(deltas):
    came = [delta async for delta in deltas]
    return "".join(delta.text for delta in came), came[-1]


def block(kind, index=0, **more):
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **more}}


def delta(index=0, **more):
    return {"type": "content_block_delta", "index": index, "delta": {"type": "any_delta", **more}}


def last(reason="end_turn", **usage):
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9, **usage}}


STOP = {"type": "message_stop"}


async def test_a_stream_ends_with_reason_and_usage(server, lm, stream, events):
    server.then_events(events("One", " two"), done=False)
    text, end = await read(stream(lm()))
    assert text == "One two"
    assert (end.finish_reason, end.usage) == ("stop", Usage(3, 2))
    assert server.requests[0].json["stream"] is True


async def test_later_counts_stand_for_earlier_ones(server, lm, stream):
    head = {"type": "message_start", "message": {"usage": {"input_tokens": 5, "cache_read_input_tokens": 7}}}
    server.then_events([head, last(input_tokens=6, output_tokens_details={"thinking_tokens": 4}), STOP], done=False)
    assert (await read(stream(lm())))[1].usage == Usage(13, 9, 7, 4)


async def test_pieces_of_calls_are_put_together(server, lm, stream):
    pieces = [
        block("tool_use", 0, id="t1", name="add", input={}), delta(0, partial_json=""), delta(0, partial_json='{"a"'),
        block("tool_use", 1, id="t2", name="now", input={}), delta(0, partial_json=": 1}"),
        block("tool_use", 2, id="t3", name="whole", input={"b": 2}), last("tool_use"), STOP,
    ]  # fmt: skip
    server.then_events(pieces, done=False)
    came = [one async for one in stream(lm())]
    told, end = [one for piece in came for one in piece.tool_call_pieces], came[-1]
    assert told == [
        *(ToolCallPiece(0, "t1", "add"), ToolCallPiece(0, arguments='{"a"'), ToolCallPiece(1, "t2", "now")),
        *(ToolCallPiece(0, arguments=": 1}"), ToolCallPiece(2, "t3", "whole")),
    ]
    assert end.tool_calls == (
        ToolCall("t1", "add", '{"a": 1}'),
        ToolCall("t2", "now", "{}"),
        ToolCall("t3", "whole", '{"b":2}'),
    )
    assert end.finish_reason == "tool_calls"


@pytest.mark.fault("B10")
async def test_a_piece_that_belongs_to_no_call_is_a_protocol_error(server, lm, stream):
    server.then_events([delta(3, partial_json="}"), last(), STOP], done=False)
    with pytest.raises(ProtocolError, match="belongs to no call"):
        await read(stream(lm()))


@pytest.mark.fault("T09")
async def test_what_does_not_belong_to_the_answer_is_passed_over(server, lm, stream):
    pieces = [
        {"type": "ping"}, block("text", text="O"), delta(text="ne"), {"type": "content_block_stop", "index": 0}, {"x": 1},
        {"type": "news_of_tomorrow", "delta": None}, delta(1, signature="s"), delta(text=None), {"type": "message_delta"},
        last(), STOP, delta(text="late"),
    ]  # fmt: skip
    server.then_events(pieces, done=False)
    assert (await read(stream(lm())))[0] == "One"


@pytest.mark.fault("T02")
async def test_a_reason_to_stop_is_enough_of_an_end(server, lm, stream, events):
    server.then_events(events("One")[:-1], done=False)
    assert (await read(stream(lm())))[0] == "One"


@pytest.mark.fault("T03")
@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, Unavailable),
        ("data: {nonsense\n\n", ProtocolError),
        (": nothing more\n\n", ProtocolError),
    ],
    ids=["error-event", "bad-json", "end"],
)
async def test_a_fault_after_the_first_piece_is_final(server, lm, stream, broken, kind):
    server.then_events([block("text", text=""), delta(text="One"), broken], done=False)
    with pytest.raises(kind) as caught:
        await read(stream(lm(num_retries=3)))
    assert caught.value.partial == "One"
    assert len(server.requests) == 1


@pytest.mark.fault("T04")
async def test_an_error_before_the_first_piece_is_tried_again(server, lm, stream, events, quick):
    server.then_events([{"type": "error", "error": {"type": "overloaded_error", "message": "later"}}], done=False)
    server.then_events(events("One"), done=False)
    async with quick.app():
        assert (await read(stream(lm(num_retries=3))))[0] == "One"
    assert len(server.requests) == 2


@pytest.mark.fault("T05")
async def test_pings_do_not_move_the_calls_end(server, lm, stream):
    server.then_events([{"type": "ping"}] * 40, done=False, every=0.02, end="hang")
    with pytest.raises(LMTimeout):
        await read(stream(lm(timeout=0.15)))


@pytest.mark.fault("T07")
async def test_endless_text_is_left_at_the_limit(server, lm, stream):
    server.then_events([delta(text="x" * 600_000)] * 8, done=False)
    with pytest.raises(ProtocolError, match="4194304") as caught:
        await read(stream(lm()))
    assert caught.value.retryable is False


@pytest.mark.fault("B04")
async def test_a_stream_that_ends_in_a_refusal_is_content_filtered(server, lm, stream, events):
    server.then_events(events("Half", stop_reason="refusal"), done=False)
    with pytest.raises(ContentFiltered):
        await read(stream(lm()))


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (529, Unavailable)])
async def test_a_refused_stream_is_refused_as_any_call(server, lm, stream, status, kind):
    server.then(status)
    with pytest.raises(kind):
        await read(stream(lm()))


async def test_streams_one_after_another_keep_their_connection(server, lm, stream, events):
    model = lm()
    for _ in range(3):
        server.then_events(events("One"), done=False)
        await read(stream(model))
    assert server.connections == 1
