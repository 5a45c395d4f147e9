"""Streams of lines: equal to the whole reply, or an error that has what came; cuts and faults are the kit's (test_contract)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex.plugin import LMTimeout, ProtocolError, ToolCall, Unavailable, Usage
from dspex_ollama.lines import Lines


async def read(deltas):
    came = [delta async for delta in deltas]
    return "".join(delta.text for delta in came), came[-1]


async def test_a_stream_ends_with_reason_and_usage(server, lines, lm, stream, reply):
    lines(reply("One", done=False), reply(" two", done=False), reply(), end="hang")
    text, end = await read(stream(lm()))
    assert text == "One two"
    assert (end.finish_reason, end.usage) == ("stop", Usage(3, 2))
    assert server.requests[0].json["stream"] is True


async def test_calls_and_thoughts_of_several_lines_are_gathered(lines, lm, stream, reply):
    call = {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}
    thoughts = [reply(None, done=False, message={"thinking": thought}) for thought in ("Two ", "and two.")]
    lines(*thoughts, reply(done=False, message=call), reply(message=call))
    came = [delta async for delta in stream(lm())]
    assert "".join(delta.reasoning or "" for delta in came) == "Two and two."
    assert came[-1].tool_calls == (ToolCall("call_0", "f", '{"a": 1}'), ToolCall("call_1", "f", '{"a": 1}'))
    assert came[-1].finish_reason == "tool_calls"


@pytest.mark.fault("T03")
@pytest.mark.parametrize(
    ("broken", "kind"),
    [({"error": "runner has stopped"}, Unavailable), (b"{nonsense\n", ProtocolError), (b"\n", ProtocolError)],
    ids=["error", "bad-json", "end"],
)
async def test_a_fault_after_the_first_piece_is_final(server, lines, lm, stream, reply, broken, kind):
    lines(reply("One", done=False), broken)
    with pytest.raises(kind) as caught:
        await read(stream(lm(num_retries=3)))
    assert caught.value.partial == "One"
    assert len(server.requests) == 1


@pytest.mark.fault("T04")
async def test_an_error_before_the_first_piece_is_tried_again(server, lines, lm, stream, reply, quick):
    lines({"error": "runner has stopped"})
    lines(reply("One"))
    async with quick.app():
        assert (await read(stream(lm(num_retries=3))))[0] == "One"
    assert len(server.requests) == 2


@pytest.mark.fault("T05")
async def test_empty_lines_do_not_move_the_calls_end(lines, lm, stream):
    lines(*[b"\n"] * 40, every=0.02, end="hang")
    with pytest.raises(LMTimeout):
        await read(stream(lm(timeout=0.15)))


@pytest.mark.fault("T07")
async def test_endless_text_is_left_at_the_limit(lines, lm, stream, reply):
    lines(*[reply("x" * 600_000, done=False)] * 8)
    with pytest.raises(ProtocolError, match="4194304"):
        await read(stream(lm()))


async def test_streams_one_after_another_keep_their_connection(server, lines, lm, stream, reply):
    model = lm()
    for _ in range(3):
        lines(reply("One"))
        await read(stream(model))
    assert server.connections == 1


@given(
    st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1, max_size=9)),
    st.data(),
)
def test_lines_are_the_same_wherever_they_are_cut(texts, data):
    stream = "".join(f"{text}\n" for text in texts).encode() + b"rest"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=9)))
    reader, came = Lines(99), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        came += reader.feed(stream[start:end])
    assert [event.data for event in came] == [text for text in texts if text.encode().strip()]


@pytest.mark.parametrize(
    "chunks", [[b"x" * 9], [b"x" * 4, b"x" * 4, b"x"], [b"ab\n" + b"x" * 9]], ids=["one", "many", "later"]
)
def test_a_line_beyond_the_limit_is_refused(chunks):
    reader, (*first, last) = Lines(8), chunks
    for chunk in first:
        assert not reader.feed(chunk)
    with pytest.raises(ProtocolError, match="more than 8 bytes"):
        reader.feed(last)
