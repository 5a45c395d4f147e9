"""Streams: equal to the whole reply, or an error that has what came."""

import asyncio
import json

import pytest

from dspex.plugin import (
    ContentFiltered,
    LMError,
    LMTimeout,
    ProtocolError,
    RateLimited,
    ToolCall,
    ToolCallPiece,
    Unavailable,
    Usage,
)


def piece(content=None, *, finish_reason=None, index=0, **delta):
    text = {} if content is None else {"content": content}
    return {"id": "r1", "choices": [{"index": index, "delta": {**text, **delta}, "finish_reason": finish_reason}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
GOOD = [piece("", role="assistant"), piece("One"), piece(" two"), piece(finish_reason="stop"), USAGE]


async def read(deltas):
    came = [delta async for delta in deltas]
    return "".join(delta.text for delta in came), came[-1]


async def test_a_stream_ends_with_reason_and_usage(server, lm, stream):
    server.then_events(GOOD)
    text, last = await read(stream(lm()))
    assert text == "One two"
    assert (last.finish_reason, last.usage) == ("stop", Usage(5, 2))
    body = server.requests[0].json
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}


async def test_a_server_that_refuses_the_question_is_not_asked_for_usage(server, lm, stream):
    server.then_events(GOOD)
    await read(stream(lm(stream_usage=False)))
    assert "stream_options" not in server.requests[0].json


async def test_what_a_model_thinks_comes_apart(server, lm, stream):
    server.then_events(
        [piece(reasoning_content="Hm. "), piece(reasoning="So."), piece("4"), piece(finish_reason="stop")]
    )
    came = [delta async for delta in stream(lm())]
    assert [(delta.text, delta.reasoning) for delta in came[:-1]] == [("", "Hm. "), ("", "So."), ("4", None)]


def tool(**call):
    function = {name: call.pop(name) for name in ("name", "arguments") if name in call}
    return piece(tool_calls=[{**call, "function": function}])


async def test_pieces_of_tool_calls_are_put_together(server, lm, stream):
    pieces = [tool(index=0, id="c1", name="add", arguments=""), tool(index=0, arguments='{"a"'), tool(index=1, id="c2", name="now"),
              tool(index=0, arguments=": 1}"), piece(finish_reason="tool_calls")]  # fmt: skip
    server.then_events(pieces)
    _, last = await read(stream(lm()))
    assert last.tool_calls == (ToolCall("c1", "add", '{"a": 1}'), ToolCall("c2", "now", "{}"))
    assert last.finish_reason == "tool_calls"


async def test_a_call_is_told_of_while_it_comes(server, lm, stream):
    server.then_events([tool(index=0, id="c1", name="add", arguments=""), tool(index=0, arguments='{"a"'), piece("so"),
                        tool(index=0, arguments=": 1}"), piece(finish_reason="tool_calls")])  # fmt: skip
    came = [delta async for delta in stream(lm())]
    told = [one for delta in came for one in delta.tool_call_pieces]
    assert told == [
        ToolCallPiece(0, "c1", "add"),
        ToolCallPiece(0, arguments='{"a"'),
        ToolCallPiece(0, arguments=": 1}"),
    ]
    assert [delta.text for delta in came] == ["", "", "so", "", ""]


async def test_a_stream_that_breaks_within_a_call_is_not_to_be_tried_again(server, lm, stream):
    server.then_events([tool(index=0, id="c1", name="add", arguments="{")], done=False, end="reset")
    with pytest.raises(LMError) as caught:
        await read(stream(lm()))
    assert caught.value.retryable is False


@pytest.mark.fault("B10")
async def test_tool_calls_without_index_are_told_apart_by_id(server, lm, stream):
    pieces = [
        tool(id="a", name="f", arguments="{"),
        tool(arguments="}"),
        tool(id="b", name="g", arguments="{}"),
        piece(finish_reason="stop"),
    ]
    server.then_events(pieces)
    _, last = await read(stream(lm()))
    assert last.tool_calls == (ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}"))


@pytest.mark.fault("B10")
async def test_a_piece_that_belongs_to_no_call_is_a_protocol_error(server, lm, stream):
    server.then_events(
        [tool(id="a", name="f"), tool(id="b", name="g"), tool(arguments="}"), piece(finish_reason="stop")]
    )
    with pytest.raises(ProtocolError, match="neither an index nor an id"):
        await read(stream(lm()))


@pytest.mark.fault("T01")
@pytest.mark.fault("R18")
async def test_a_stream_cut_at_any_byte_is_the_whole_answer_or_an_error_with_what_came(server, lm, stream):
    events = [*GOOD[:-2], *(piece(f" {number}, Olé") for number in range(20)), *GOOD[-2:]]
    whole = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    model, ends = lm(breaker=False), []
    for begin in range(0, len(whole), 100):
        cuts = range(begin, min(begin + 100, len(whole)))
        for cut in cuts:
            server.then_events([whole[:cut]] if cut else [": nothing\n\n"], done=False)
        ends += await asyncio.gather(*(ended(stream(model)) for _ in cuts))
    text = "One two" + "".join(f" {number}, Olé" for number in range(20))
    assert len(ends) >= 2_000
    assert all(came == text if error is None else (error.partial or "") == came for came, error in ends)
    assert 0 < sum(error is None for _, error in ends) < len(ends) / 2


async def ended(deltas) -> tuple[str, ProtocolError | None]:
    """All text that came, and how it ended."""
    came = []
    try:
        async for delta in deltas:
            came += [delta.text]
    except ProtocolError as error:
        return "".join(came), error
    return "".join(came), None


@pytest.mark.fault("T02")
async def test_a_reason_to_finish_is_enough_of_an_end(server, lm, stream):
    server.then_events(GOOD, done=False)
    assert (await read(stream(lm())))[0] == "One two"


async def test_an_end_mark_without_a_reason_is_an_end(server, lm, stream):
    server.then_events(GOOD[:3])
    text, last = await read(stream(lm()))
    assert (text, last.finish_reason) == ("One two", "stop")


BREAKS = {
    "reset": ([piece("One")], {"done": False, "end": "reset"}, (ProtocolError, Unavailable)),
    "error-event": ([piece("One"), {"error": {"code": 503, "message": "busy"}}], {}, Unavailable),
    "bad-json": ([piece("One"), "data: {nonsense\n\n"], {}, ProtocolError),
    "cut": ([piece("One")], {"done": False}, ProtocolError),
}


@pytest.mark.fault("T03")
@pytest.mark.parametrize(("events", "how", "kind"), BREAKS.values(), ids=BREAKS.keys())
async def test_a_fault_after_the_first_piece_is_final(server, lm, stream, events, how, kind):
    server.then_events(events, **how)
    came = []
    with pytest.raises(kind) as caught:
        came.extend([delta async for delta in stream(lm(num_retries=3))])
    assert caught.value.partial == "One"
    assert len(server.requests) == 1


@pytest.mark.fault("T04")
@pytest.mark.parametrize("fault", ["reset", "error-event", "status"])
async def test_a_fault_before_the_first_piece_is_tried_again(server, lm, stream, quick, fault):
    if fault == "reset":
        server.then_events([": hello\n\n"], done=False, end="reset")
    elif fault == "error-event":
        server.then_events([{"error": {"code": "rate_limit_exceeded", "message": "later"}}])
    else:
        server.then(429, headers={"Retry-After": "0.2"})
    server.then_events(GOOD)
    async with quick.app():
        assert (await read(stream(lm(num_retries=3))))[0] == "One two"
    assert len(quick.slept) == 1
    assert len(server.requests) == 2


@pytest.mark.fault("T05")
@pytest.mark.fault("T06")
@pytest.mark.parametrize("last", [piece("One"), ": ping\n\n"], ids=["silence", "comments"])
async def test_silence_and_comments_end_with_the_calls_time(server, lm, stream, last):
    server.then_events(
        [piece("One"), *[last] * (1 if isinstance(last, dict) else 40)], done=False, every=0.02, end="hang"
    )
    with pytest.raises(LMTimeout):
        await read(stream(lm(timeout=0.15)))


@pytest.mark.fault("T07")
@pytest.mark.fault("R19")
async def test_endless_text_is_left_at_the_limit(server, lm, stream):
    chunk = f"data: {json.dumps(piece('x' * 60_000))}\n\n".encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.then_raw(head, endless=b"%x\r\n%s\r\n" % (len(chunk), chunk))
    with pytest.raises(ProtocolError, match="4194304") as caught:
        await read(stream(lm()))
    assert caught.value.retryable is False
    assert await asyncio.to_thread(server.wait, lambda s: s.closed == 1, 2.0)


@pytest.mark.fault("T08")
async def test_single_bytes_and_other_line_ends_read_the_same(server, lm, stream):
    text = "".join(
        f"data:{json.dumps(event, ensure_ascii=False)}\r\n\r\n"
        for event in [piece("Olé 😀"), piece(finish_reason="stop")]
    )
    body = b"\xef\xbb\xbf" + text.encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.then_raw(head, *[b"1\r\n" + body[i : i + 1] + b"\r\n" for i in range(len(body))], b"0\r\n\r\n")
    assert (await read(stream(lm())))[0] == "Olé 😀"


@pytest.mark.fault("T09")
async def test_what_does_not_belong_to_the_answer_is_passed_over(server, lm, stream):
    noise = [
        piece("other", index=1),
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": []},
        {"choices": None, "x": 1},
        USAGE,
    ]
    server.then_events(
        [noise[0], piece("One"), *noise, piece(" two"), piece(finish_reason="stop"), "data: [DONE]\n\n", piece("late")]
    )
    text, last = await read(stream(lm()))
    assert (text, last.usage) == ("One two", Usage(5, 2))


@pytest.mark.fault("T10")
async def test_the_answer_does_not_wait_for_the_sockets_end(server, lm, stream):
    server.then_events(GOOD, end="hang")
    async with asyncio.timeout(1):
        assert (await read(stream(lm())))[0] == "One two"
    assert await asyncio.to_thread(server.wait, lambda s: s.closed == 1, 1.0)


@pytest.mark.fault("T11")
async def test_a_whole_reply_in_place_of_a_stream_is_one_piece(server, lm, stream):
    server.then(
        200, json={"choices": [{"message": {"content": "One two"}, "finish_reason": "stop"}], "usage": USAGE["usage"]}
    )
    text, last = await read(stream(lm()))
    assert (text, last.finish_reason, last.usage) == ("One two", "stop", Usage(5, 2))


@pytest.mark.fault("T11")
async def test_a_web_page_in_place_of_a_stream_is_a_protocol_error(server, lm, stream):
    server.then(200, "<html>Log in</html>", headers={"Content-Type": "text/html"})
    with pytest.raises(ProtocolError, match="web page"):
        await read(stream(lm()))


@pytest.mark.fault("B04")
@pytest.mark.parametrize(
    "end", [piece(finish_reason="content_filter"), piece(refusal="I will not.", finish_reason="stop")]
)
async def test_a_stream_that_ends_in_a_refusal_is_content_filtered(server, lm, stream, end):
    server.then_events([piece("Half"), end])
    with pytest.raises(ContentFiltered):
        await read(stream(lm()))


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (500, Unavailable), (400, LMError)])
async def test_a_refused_stream_is_refused_as_any_call(server, lm, stream, status, kind):
    server.then(status)
    with pytest.raises(kind):
        await read(stream(lm()))


@pytest.mark.fault("T12")
async def test_a_reader_that_stops_early_closes_the_request(server, lm, stream):
    server.then_events([piece(f"{n} ") for n in range(200)], every=0.01)
    deltas = stream(lm())
    assert (await anext(deltas)).text == "0 "
    await deltas.aclose()
    assert await asyncio.to_thread(server.wait, lambda s: s.closed == 1, 1.0)


async def test_streams_one_after_another_keep_their_connection(server, lm, stream):
    model = lm()
    for _ in range(3):
        server.then_events(GOOD)
        await read(stream(model))
    assert server.connections == 1
