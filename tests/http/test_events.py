"""Event streams: any cut, any line end, and every way to end badly."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex.core.errors import LMError, LMTimeout, ProtocolError, RateLimited, Unavailable
from dspex.core.wire import ServerEvent
from dspex.service.sse import EventReader
from dspex.testing.fault_server import head

MIB = 1 << 20
STREAM = head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})


async def collected(http, came: list[str] | None = None) -> list[str]:
    came = [] if came is None else came
    async for event in http.events("POST", "/chat", json={"q": 1}):
        came.append(event.data)  # what came before a fault must be seen
    return came


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def test_events_come_in_order_over_one_connection(server, http):
    for _ in range(2):
        server.then_events(["event: delta\ndata: one\n\n", {"n": 2}])
        assert await collected(http) == ["one", '{"n":2}', "[DONE]"]
    assert server.connections == 1
    assert server.requests[0].headers["accept-encoding"] == "identity"


TEXTS = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)


@st.composite
def written(draw: st.DrawFn) -> tuple[list[ServerEvent], bytes]:
    """Events, and one of the many ways to write them."""
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    events, lines = [], []
    for name, data in draw(st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), max_size=4)):
        events.append(ServerEvent(name or "message", "\n".join(data)))
        # The one blank that is dropped must be written where the text begins with another.
        gap = " " if draw(st.booleans()) or any(text.startswith(" ") for text in (name, *data)) else ""
        lines += draw(st.sampled_from([[], [": ping"], ["id: 7", "retry: 5", "other: x"]]))
        lines += [f"event:{gap}{name}"] if name else []
        lines += [f"data:{gap}{text}" for text in data] + [""]
    bom = draw(st.sampled_from(["", "\ufeff"])) if lines else ""
    return events, (bom + "".join(line + end for line in lines)).encode()


@pytest.mark.slow
@pytest.mark.fault("T08")
@given(written(), st.lists(st.integers(0, 200), max_size=6), st.booleans())
def test_any_spelling_cut_anywhere_reads_the_same(spelling, cuts, by_bytes):
    events, raw = spelling
    places = range(len(raw) + 1) if by_bytes else sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    reader = EventReader(MIB)
    assert [event for a, b in pairwise(places) for event in reader.feed(raw[a:b])] == events


def test_an_event_that_no_empty_line_ends_is_none():
    assert EventReader(MIB).feed(b"data: one\n\ndata: tw") == [ServerEvent("message", "one")]


@pytest.mark.fault("T03")
@pytest.mark.parametrize("end", ["reset", "close"])
async def test_a_stream_that_breaks_gives_what_came_and_an_error(server, http, end):
    server.then_events([{"n": 1}], done=False, end=end)
    came = []
    with pytest.raises((ProtocolError, Unavailable)):
        await collected(http, came)
    assert came == ['{"n":1}']


@pytest.mark.fault("T04")
@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, Unavailable)])
async def test_a_refused_stream_is_refused_as_any_request(server, http, status, kind):
    server.then(status)
    with pytest.raises(kind):
        await collected(http)


@pytest.mark.fault("T05")
async def test_silence_in_a_stream_ends_after_the_idle_bound(server, client):
    server.then_events([{"n": 1}], done=False, end="hang")
    with pytest.raises(LMTimeout, match=r"0\.1 s"):
        await collected(client(idle_s=0.1))
    assert await asyncio.to_thread(server.wait, lambda s: s.closed == 1, 1.0)


@pytest.mark.fault("T12")
async def test_a_slow_consumer_is_no_silent_server(server, client):
    server.then_events([{"n": n} for n in range(3)], every=0.01)
    came = []
    async for event in client(idle_s=0.2).events("POST", "/chat"):
        came.append(event.data)
        if len(came) == 1:
            await asyncio.sleep(0.3)
    assert len(came) == 4


@pytest.mark.fault("T06")
async def test_comments_for_ever_end_with_the_callers_deadline(server, http):
    server.then_raw(STREAM, *[chunk(b": ping\n\n")] * 50, every=0.02)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await collected(http)
    assert await asyncio.to_thread(server.wait, lambda s: s.closed == 1, 1.0)


@pytest.mark.fault("T07")
@pytest.mark.parametrize("endless", [b"x" * 65536, b"data: " + b"x" * 60_000 + b"\n"], ids=["line", "event"])
async def test_a_line_or_an_event_without_end_is_left_at_the_limit(server, http, endless):
    server.then_raw(STREAM, endless=chunk(endless))
    with pytest.raises(ProtocolError, match=str(MIB)) as caught:
        await collected(http)
    assert caught.value.retryable is False
    assert await asyncio.to_thread(server.wait, lambda s: s.closed == 1, 1.0)
    assert server.sent < 16 * MIB


@pytest.mark.fault("T11")
async def test_a_whole_reply_in_place_of_a_stream_is_one_event(server, http):
    server.then(200, json={"a": 1})
    assert [event async for event in http.events("POST", "/chat")] == [ServerEvent("body", '{"a":1}')]


@pytest.mark.fault("T12")
async def test_a_consumer_that_stops_early_closes_the_request(server, http):
    server.then_events([{"n": n} for n in range(100)], every=0.02)
    events = http.events("POST", "/chat")
    assert (await anext(events)).data == '{"n":0}'
    await events.aclose()
    assert await asyncio.to_thread(server.wait, lambda s: s.closed == 1, 1.0)


@pytest.mark.fault("T10")
async def test_a_consumer_that_stops_at_the_last_event_leaves_the_connection_usable(server, http):
    for _ in range(2):
        server.then_events([{"n": 1}], every=0.005)
        events = http.events("POST", "/chat")
        while (await anext(events)).data != "[DONE]":
            pass
        await events.aclose()
    assert server.connections == 1


@pytest.mark.fault("R16")
async def test_a_cancelled_stream_closes_its_connection_at_once(server, http):
    server.then_events([{"n": 1}], done=False, end="hang")
    task = asyncio.create_task(collected(http))
    assert await asyncio.to_thread(server.wait, lambda s: s.sent > 100)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(server.wait, lambda s: s.closed == 1, 1.0)


async def test_an_error_in_a_stream_has_no_key(server, http):
    server.then(400, "sk-canary-0123456789 is bad")
    with pytest.raises(LMError) as caught:
        await collected(http)
    assert "sk-canary" not in str(caught.value)


class Lines:
    """A form of streams of one's own: an event a line."""

    def __init__(self, limit: int) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [ServerEvent("line", line.decode()) for line in lines]


async def test_a_stream_of_another_form_is_read_by_the_framing_for_its_type(server, http):
    head_of_lines = head(200, {"Content-Type": "application/x-ndjson; charset=utf-8", "Transfer-Encoding": "chunked"})
    for framings in ({"application/x-ndjson": Lines}, {"text/other": Lines}):
        server.then_raw(head_of_lines, *map(chunk, [b'{"a"', b":1}\n{", b'"b":2}\n{"c":']), b"0\r\n\r\n", end="keep")
        came = [event async for event in http.events("POST", "/chat", framings=framings)]
        known = [ServerEvent("line", '{"a":1}'), ServerEvent("line", '{"b":2}')]
        whole = [ServerEvent("body", '{"a":1}\n{"b":2}\n{"c":')]
        assert came == (known if "application/x-ndjson" in framings else whole)


async def test_a_whole_address_may_have_a_query(server, http):
    server.then(200, json={})
    await http.request("POST", f"{server.url}/models/m:stream?alt=sse")
    assert server.requests[0].path == "/models/m:stream?alt=sse"
