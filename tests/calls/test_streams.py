"""A streamed call: tried again only before its first piece, and whole or an error."""

import asyncio

import pytest

import dspex
import dspex.plugin
from dspex.plugin import LMDelta, LMTimeout, ProtocolError, RateLimited, Usage

LAST = LMDelta("", finish_reason="stop", usage=Usage(10, 5))


class Streaming:
    """Each stream gives its pieces: a number waits, an error is raised."""

    def __init__(self, *streams):
        self.streams = list(streams)
        self.opened = self.closed = 0

    async def complete(self, request):
        raise NotImplementedError

    async def stream(self, request):
        self.opened += 1
        try:
            for piece in self.streams.pop(0) if len(self.streams) > 1 else self.streams[0]:
                if isinstance(piece, BaseException):
                    raise piece
                if isinstance(piece, float):
                    await asyncio.sleep(piece)
                else:
                    yield LMDelta(piece) if isinstance(piece, str) else piece
        finally:
            self.closed += 1


async def pieces(lm, text="2+2?"):
    """Texts of all pieces, and the error at the end."""
    got = []
    try:
        async for delta in lm.stream(lm.request((dspex.plugin.Message.of("user", text),), {})):
            got.append(delta.text)  # noqa: PERF401  kept if the stream fails
    except dspex.DspexError as error:
        return got, error
    return got, None


def streamed(virtual, provider, **options):
    async def main():
        return await pieces(dspex.LM("x/y", provider=provider, **options))

    return virtual(main)


def test_the_pieces_come_as_they_are(virtual):
    assert streamed(virtual, Streaming(["a", 1.0, "b", LAST])) == (["a", "b", ""], None)


@pytest.mark.fault("T04")
def test_a_fault_before_the_first_piece_is_tried_again(virtual):
    provider = Streaming([RateLimited("slow down")], ["a", LAST])
    assert streamed(virtual, provider) == (["a", ""], None)
    assert provider.opened == provider.closed == 2


@pytest.mark.fault("T03")
@pytest.mark.parametrize("error", [ProtocolError("reset"), ValueError("odd")], ids=["typed", "foreign"])
def test_a_fault_after_the_first_piece_is_raised(virtual, error):
    provider = Streaming(["a", "b", error])
    got, raised = streamed(virtual, provider)
    assert got == ["a", "b"]
    assert isinstance(raised, ProtocolError | dspex.PluginError)
    assert getattr(raised, "partial", "ab") == "ab"
    assert provider.opened == provider.closed == 1


@pytest.mark.fault("T01")
def test_a_stream_without_its_last_piece_is_an_error_with_the_parts(virtual):
    got, raised = streamed(virtual, Streaming(["a", "b"]))
    assert got == ["a", "b"]
    assert isinstance(raised, ProtocolError)
    assert raised.partial == "ab"


@pytest.mark.fault("T05")
def test_silence_ends_at_the_deadline(virtual):
    got, raised = streamed(virtual, Streaming(["a", 1e6, "b", LAST]), timeout=5.0)
    assert got == ["a"]
    assert type(raised) is LMTimeout
    assert raised.partial == "a"


def test_a_provider_that_does_not_stream_gives_one_piece(virtual, script):
    assert streamed(virtual, script("whole")) == (["whole"], None)


@pytest.mark.fault("T12")
def test_leaving_early_closes_the_stream_and_gives_its_permit_back(virtual):
    provider = Streaming(["a", "b", "c", LAST])

    async def main():
        lm = dspex.LM("x/y", provider=provider, max_in_flight=1)
        with dspex.budget(calls=2) as budget:
            for _ in range(2):
                stream = lm.stream(lm.request((), {}))
                async for _delta in stream:
                    break
                await stream.aclose()
        return lm.service.attempts.limits.used, budget.spent.calls

    assert virtual(main) == (0, 2)
    assert provider.opened == provider.closed == 2


@pytest.mark.fault("T07")
def test_a_stream_without_end_is_closed(virtual):
    provider = Streaming(["x" * (1 << 20)] * 8)
    got, error = streamed(virtual, provider)
    assert len(got) == 4
    assert isinstance(error, ProtocolError)
    assert "beyond 4194304 characters" in str(error)
    assert (provider.opened, provider.closed) == (1, 1)
