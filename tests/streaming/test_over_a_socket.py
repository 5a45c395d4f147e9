"""A stream over a real connection: a slow reader slows the server, one that leaves closes the request."""

import asyncio
import gc
import json
import tracemalloc
from contextlib import aclosing

import pytest

import dspex
from dspex.core.endpoint import Endpoint
from dspex.plugin import LMDelta, ProtocolError
from dspex.service.http import HttpService
from dspex.testing import FaultServer
from dspex.testing.faults import chunked, head

STREAM = head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})

MIB = 1 << 20


class Wire:
    """An LMProvider of event streams: `t` in an event is a piece."""

    capabilities = dspex.Capabilities(chat=True, stream=True)

    def __init__(self, http):
        self.http = http

    async def complete(self, request):
        raise NotImplementedError

    async def stream(self, request):
        async with aclosing(self.http.events("POST", "/chat", json={})) as events:
            async for event in events:
                if event.data == "[DONE]":
                    yield LMDelta("", finish_reason="stop")
                    return
                yield LMDelta(json.loads(event.data)["t"])


@pytest.fixture
def server():
    with FaultServer() as server:
        yield server


@pytest.fixture
async def lm(server):
    http = HttpService(Endpoint("acme", "acme-1", server.url, None))
    yield dspex.LM("acme/acme-1", provider=Wire(http), cache=False, max_in_flight=1)
    await http.aclose()


ANSWER = dspex.Predict("question -> answer")


def events_of(*texts):
    return [{"t": text} for text in texts]


def event(text, padding=0):
    return chunked(f"data: {json.dumps({'t': text, 'p': 'x' * padding})}\n\n".encode())


def until_it_stands_still(server):
    """Wait until nothing more is sent; what was sent by then."""
    sent = -1
    while server.sent != sent:
        sent = server.sent
        server.wait(lambda server, last=sent: server.sent > last, 0.3)
    return sent


def endless(server):
    """A reply that never ends, of pieces of 4 KiB on the wire and little text."""
    server.then_raw(STREAM, event("[[ ## answer ## ]]\n"), endless=event("word ", 4_000))


async def everything(stream, into=None):
    events = [] if into is None else into
    async for one in stream:
        events.append(one)
    return events


@pytest.mark.slow
@pytest.mark.fault("T12")
async def test_a_slow_reader_slows_the_server_and_memory_stays_flat(server, lm):
    server.then_events(events_of("[[ ## answer ## ]]\n", "four"))
    endless(server)
    with dspex.context(lm=lm):
        await everything(ANSWER.astream(question="what is imported and made once is no part of it"))
        tracemalloc.start()
        try:
            async with aclosing(ANSWER.astream(question="?")) as stream:
                await anext(stream)
                stood = await asyncio.to_thread(until_it_stands_still, server)
                _, peak = tracemalloc.get_traced_memory()
                for _ in range(2_000):
                    assert (await anext(stream)).field == "answer"
                assert await asyncio.to_thread(server.wait, lambda server: server.sent > stood)
        finally:
            tracemalloc.stop()
    assert stood < 24 * MIB  # what the system's buffers hold
    assert peak < 3 * MIB
    assert await asyncio.to_thread(server.wait, lambda server: server.closed == 1, 1.0)


@pytest.mark.fault("T12")
async def test_leaving_the_loop_closes_the_connection_and_gives_the_permit_back(server, lm):
    endless(server)
    before = asyncio.all_tasks()
    with dspex.context(lm=lm):
        async with aclosing(ANSWER.astream(question="?")) as stream:
            async for _ in stream:
                break
        assert lm.service.attempts.limits.used == 0
    assert asyncio.all_tasks() == before
    assert await asyncio.to_thread(server.wait, lambda server: server.closed == 1, 1.0)


@pytest.mark.fault("T12")
async def test_a_reader_that_is_cancelled_closes_the_connection(server, lm):
    endless(server)
    before, came = asyncio.all_tasks(), asyncio.Event()

    async def read():
        async for _ in ANSWER.astream(question="?"):
            came.set()

    with dspex.context(lm=lm):
        task = asyncio.create_task(read())
        await came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert lm.service.attempts.limits.used == 0
    assert asyncio.all_tasks() == before
    assert await asyncio.to_thread(server.wait, lambda server: server.closed == 1, 1.0)


def test_leaving_the_plain_loop_closes_the_connection_too(server):
    endless(server)
    http = HttpService(Endpoint("acme", "acme-1", server.url, None))
    try:
        with dspex.context(lm=dspex.LM("acme/acme-1", provider=Wire(http), cache=False)):
            for _ in ANSWER.stream(question="?"):
                break
        gc.collect()
        assert server.wait(lambda server: server.closed == 1, 1.0)
    finally:
        dspex.syncify(http.aclose)()


@pytest.mark.fault("T03")
async def test_a_connection_that_breaks_is_an_error_behind_what_came(server, lm):
    server.then_events(events_of("[[ ## answer ## ]]\n", "fo", "ur"), done=False, end="reset")
    events = []
    with dspex.context(lm=lm), pytest.raises(ProtocolError) as caught:
        await everything(ANSWER.astream(question="?"), events)
    assert "".join(one.text for one in events) == "four"
    assert caught.value.partial == "[[ ## answer ## ]]\nfour"
    assert lm.service.attempts.limits.used == 0
    assert len(server.requests) == 1


@pytest.mark.slow
async def test_a_reply_of_single_letters_takes_no_more_memory_than_its_length(streaming):
    letters = 10_000
    provider = streaming(["[[ ## answer ## ]]\n", *"xy" * (letters // 2), LMDelta("", finish_reason="stop")])
    with dspex.context(lm=dspex.LM("x/y", provider=provider, cache=False)):
        tracemalloc.start()
        try:
            async for one in ANSWER.astream(question="?"):
                last = one
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(last.prediction.answer) == letters
    assert peak < MIB / 2


@pytest.mark.fault("T07")
async def test_endless_thoughts_end_in_an_error_as_endless_text_does(streaming):
    thoughts = iter([LMDelta(reasoning="x" * 65_536)] * 10_000)

    class Thinking(streaming):
        async def stream(self, request):
            for one in thoughts:
                yield one

    lm = dspex.LM("x/y", provider=Thinking(""), cache=False)
    with dspex.context(lm=lm), pytest.raises(ProtocolError, match="goes on beyond"):
        await anext(ANSWER.astream(question="?"))
    assert len(list(thoughts)) > 9_900
