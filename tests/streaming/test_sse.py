"""Streams as server-sent events: bytes, a real aiohttp server and client, an ASGI server's calls."""

import asyncio
import json
from contextlib import suppress

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import dspex
from dspex.plugin import LMDelta, RateLimited
from dspex.service.sse import EventReader
from dspex.streaming import FieldDelta, Finished, StreamListener, ToolFinished, aiohttp_sse, asgi_sse, sse

ANSWER = dspex.Predict("question -> answer: int")


def lm_of(provider, **options):
    return dspex.LM("x/y", provider=provider, **{"cache": False, "num_retries": 0, **options})


def read(body):
    """The events in some bytes, as a client reads them: (name, data)."""
    return [(event.event, json.loads(event.data)) for event in EventReader(1 << 20).feed(body)]


async def given(*items, error=None):
    for item in items:
        yield item
    if error is not None:
        raise error


async def body_of(stream, **how):
    return b"".join([chunk async for chunk in sse(stream, **how)])


class Stalled:
    """A provider that gives one piece and then nothing, and says when it is closed."""

    capabilities = dspex.Capabilities(chat=True, stream=True)

    def __init__(self):
        self.closed = asyncio.Event()

    async def complete(self, request):
        raise NotImplementedError

    async def stream(self, request):
        try:
            yield LMDelta("[[ ## answer ## ]]\n4")
            yield LMDelta("2")
            await asyncio.Event().wait()
        finally:
            self.closed.set()


# Bytes


async def test_each_event_has_its_name_and_its_data(streaming, reply):
    with dspex.context(lm=lm_of(streaming(reply(answer=42)))):
        events = read(await body_of(ANSWER.astream(question="?")))
    assert [name for name, _ in events] == ["FieldDelta"] * 3 + ["Finished"]
    assert events[0][1] == {"type": "FieldDelta", "predictor": "self", "field": "answer", "text": "4", "is_last": False,
                            "run": 0, "version": 0}  # fmt: skip
    assert events[-1][1] == {"type": "Finished", "prediction": {"answer": 42}}


async def test_what_streamify_gives_goes_out_too(streaming, reply):
    streamed = dspex.streamify(ANSWER, stream_listeners=[StreamListener("answer")])
    with dspex.context(lm=lm_of(streaming(reply(answer=4)))):
        events = read(await body_of(streamed(question="?")))
    assert events[0] == (
        "StreamResponse",
        {
            "predict_name": "self",
            "signature_field_name": "answer",
            "chunk": "4",
            "is_last_chunk": False,
            "run": 0,
            "version": 0,
        },
    )
    assert events[-1] == ("Prediction", {"answer": 4})


async def test_events_that_are_there_at_once_come_in_one_piece():
    chunks = [chunk async for chunk in sse(given(*[FieldDelta("self", "answer", "x") for _ in range(100)]))]
    assert len(chunks) < 10
    assert len(read(b"".join(chunks))) == 100


async def test_text_with_line_ends_stays_one_event():
    [(_, data)] = read(await body_of(given(FieldDelta("self", "answer", "a\n\ndata: b\r\nevent: c\u2028"))))
    assert data["text"] == "a\n\ndata: b\r\nevent: c\u2028"


async def test_an_object_without_a_form_in_json_is_named():
    class Own:
        pass

    events = [ToolFinished("look", "1", output=Own()), Finished(dspex.Prediction(answer=Own()))]
    (_, ended), (_, last) = read(await body_of(given(*events)))
    assert ended["output"] == "<Own>"
    assert last["prediction"] == {"answer": "<Own>"}


async def test_data_of_ones_own_goes_out_as_it_is():
    assert await body_of(given("data: [DONE]\n\n")) == b"data: [DONE]\n\n"


def test_silence_is_broken_by_comments(virtual):
    async def late():
        yield FieldDelta("self", "answer", "1")
        await asyncio.sleep(35)
        yield FieldDelta("self", "answer", "2")

    async def main():
        return await body_of(late(), heartbeat_s=10), await body_of(late(), heartbeat_s=None)

    beating, still = virtual(main)
    assert beating.count(b": still here\n\n") == 3
    assert b": " not in still.replace(b"event: ", b"").replace(b"data: ", b"")
    assert read(beating) == read(still)


async def test_an_error_of_dspex_is_the_last_event_with_its_words(streaming):
    lm = lm_of(streaming(["[[ ## answer ## ]]\n4", RateLimited("slow down")]))
    with dspex.context(lm=lm):
        events = read(await body_of(ANSWER.astream(question="?")))
    assert [name for name, _ in events] == ["FieldDelta", "Failed"]
    assert events[-1][1]["error"] == "RateLimited"
    assert "slow down" in events[-1][1]["message"]


async def test_any_other_error_is_told_without_its_words_and_raised_for_the_log():
    chunks = []
    with pytest.raises(KeyError, match="secret"):
        chunks.extend([chunk async for chunk in _kept(sse(given(1, error=KeyError("secret"))), chunks)])
    assert read(b"".join(chunks))[-1] == ("Failed", {"type": "Failed", "error": "KeyError", "message": ""})


async def _kept(stream, into):
    async for chunk in stream:
        into.append(chunk)
        yield chunk


async def test_what_is_told_of_an_error_can_be_said_otherwise(streaming):
    lm = lm_of(streaming([RateLimited("slow down")]))
    with dspex.context(lm=lm):
        body = await body_of(ANSWER.astream(question="?"), describe=lambda error: "try again later")
    assert read(body) == [("Failed", {"type": "Failed", "error": "RateLimited", "message": "try again later"})]


async def test_leaving_cancels_the_program():
    provider, before = Stalled(), asyncio.all_tasks()
    with dspex.context(lm=lm_of(provider)):
        chunks = sse(ANSWER.astream(question="?"))
        await anext(chunks)
        await chunks.aclose()
    assert provider.closed.is_set()
    assert asyncio.all_tasks() == before


# aiohttp


def site(lm, **how):
    async def handler(request):
        with dspex.context(lm=lm):
            return await aiohttp_sse(request, ANSWER.astream(question=request.query["q"]), **how)

    app = web.Application()
    app.add_routes([web.get("/", handler)])
    return TestClient(TestServer(app))


async def test_an_aiohttp_server_streams_to_a_real_client(streaming, reply):
    async with (
        site(lm_of(streaming(reply(answer=42))), headers={"X-Own": "1"}) as client,
        client.get("/?q=x") as response,
    ):
        events = read(await response.read())
    assert response.headers["content-type"] == "text/event-stream"
    assert (response.headers["cache-control"], response.headers["x-own"]) == ("no-cache", "1")
    assert "".join(data["text"] for name, data in events if name == "FieldDelta") == "42"
    assert events[-1][1]["prediction"] == {"answer": 42}


async def test_pieces_reach_the_client_before_the_reply_is_whole():
    provider = Stalled()
    async with site(lm_of(provider)) as client, client.get("/?q=x") as response:
        assert read(await response.content.readuntil(b"\n\n"))[0][1]["text"] == "4"
        assert not provider.closed.is_set()


@pytest.mark.fault("T12")
async def test_a_client_that_goes_cancels_the_program_within_a_second():
    provider = Stalled()
    lm = lm_of(provider, max_in_flight=1)
    async with site(lm) as client:
        response = await client.get("/?q=x")
        await response.content.readuntil(b"\n\n")
        response.close()
        async with asyncio.timeout(1):
            await provider.closed.wait()
        assert lm.service.attempts.limits.used == 0


@pytest.mark.fault("T12")
async def test_a_client_that_reads_slowly_holds_the_model_back(streaming):
    provider = streaming(["[[ ## answer ## ]]\n", *["x" * 4_000] * 20_000, LMDelta("", finish_reason="stop")])
    async with site(lm_of(provider)) as client:
        response = await client.get("/?q=x")
        given = -1
        while given != provider.given:
            given = provider.given
            for _ in range(200):
                await asyncio.sleep(0)
        assert given < 10_000
        response.close()


async def test_many_clients_come_and_go_and_nothing_is_left(streaming, reply):
    provider = streaming(reply(answer=42))
    lm = lm_of(provider, max_in_flight=4)
    async with site(lm) as client:

        async def ask(number):
            async with client.get("/?q=x") as response:
                if number % 3 == 0:
                    with suppress(aiohttp.ClientError, asyncio.IncompleteReadError):
                        await response.content.readuntil(b"\n\n")
                    response.close()
                else:
                    assert read(await response.read())[-1][1]["prediction"] == {"answer": 42}

        await asyncio.gather(*map(ask, range(60)))
    assert provider.opened == provider.closed
    assert lm.service.attempts.limits.used == 0


# ASGI


class Caller:
    """An ASGI server's side of one request."""

    def __init__(self):
        self.sent = []
        self.gone = asyncio.Event()
        self.fails = False

    async def receive(self):
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if self.fails:
            raise OSError("gone")
        self.sent.append(message)

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.sent)


async def test_an_asgi_server_is_given_the_same(streaming, reply):
    caller, before = Caller(), asyncio.all_tasks()
    with dspex.context(lm=lm_of(streaming(reply(answer=42)))):
        app = asgi_sse(ANSWER.astream(question="?"), headers={"X-Own": "1"})
        await app({"type": "http"}, caller.receive, caller.send)
    start, *_, last = caller.sent
    assert start["type"] == "http.response.start"
    assert dict(start["headers"])[b"content-type"] == b"text/event-stream"
    assert dict(start["headers"])[b"x-own"] == b"1"
    assert last == {"type": "http.response.body", "body": b"", "more_body": False}
    assert read(caller.body)[-1][1]["prediction"] == {"answer": 42}
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("way", ["told", "write fails", "server stops"])
async def test_an_asgi_client_that_goes_cancels_the_program(way):
    caller, provider, before = Caller(), Stalled(), asyncio.all_tasks()

    async def send(message):
        await caller.send(message)
        if message.get("body"):
            if way == "write fails":
                raise OSError("gone")
            if way == "told":
                caller.gone.set()
            else:
                task.cancel()

    with dspex.context(lm=lm_of(provider)):
        app = asgi_sse(ANSWER.astream(question="?"))
        task = asyncio.create_task(app({"type": "http"}, caller.receive, send))
        with suppress(asyncio.CancelledError):
            await task
    assert provider.closed.is_set()
    assert asyncio.all_tasks() == before


async def test_a_bug_in_the_program_reaches_the_servers_log():
    caller = Caller()
    with pytest.raises(KeyError, match="mine"):
        await asgi_sse(given(error=KeyError("mine")))({"type": "http"}, caller.receive, caller.send)
    assert read(caller.body)[-1][0] == "Failed"
