"""How often a fault is tried again, and what is raised when that does not help."""

import asyncio

import pytest

from dspex.plugin import AuthError, BadRequest, LMError, LMTimeout, ProtocolError, RateLimited, Unavailable

ANSWER = {"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]}
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"


@pytest.fixture
def tried(server, lm, ask, quick):
    """The error of a call that is never answered well, and how many requests it took."""

    async def tried(**options):
        async with quick.app():
            with pytest.raises(LMError) as caught:
                await ask(lm(num_retries=3, **options))
        assert caught.value.attempts == len(server.requests)
        assert caught.value.model == "openai/acme-1"
        return caught.value

    return tried


@pytest.mark.fault("S07")
@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504, 529], ids=str)
async def test_a_fault_that_passes_is_not_seen(server, lm, ask, quick, status):
    server.then(status).then(200, json=ANSWER)
    async with quick.app():
        assert (await ask(lm(num_retries=3))).text == "Hi."
    assert len(quick.slept) == 1


@pytest.mark.fault("S05")
@pytest.mark.fault("S08")
@pytest.mark.parametrize(
    ("status", "kind"), [(408, LMTimeout), (429, RateLimited), (500, Unavailable), (503, Unavailable), (504, LMTimeout)]
)
async def test_a_fault_that_stays_is_raised_after_four_attempts(server, tried, status, kind):
    server.then(status, times=None)
    assert type(await tried()) is kind
    assert len(server.requests) == 4


RAW = {"N05-reset": {"end": "reset"}, "N07-cut": {"chunks": (CUT,)}, "N15-no-http": {"chunks": (b"220 mail\r\n\r\n",)}}


@pytest.mark.fault("N05")
@pytest.mark.fault("N07")
@pytest.mark.fault("N15")
@pytest.mark.parametrize("how", RAW.values(), ids=RAW.keys())
async def test_a_broken_wire_is_tried_four_times(server, tried, how):
    server.then_raw(*how.get("chunks", ()), end=how.get("end", "close"), times=None)
    assert isinstance(await tried(), (Unavailable, ProtocolError))
    assert len(server.requests) == 4


ONCE_MORE = {
    "N22-empty": b"",
    "N22-cut": b'{"choices": [{"mess',
    "B01": b'{"choices": []}',
    "B02": b'{"choices": [{}]}',
}


@pytest.mark.fault("N22")
@pytest.mark.fault("B01")
@pytest.mark.fault("B02")
@pytest.mark.parametrize("body", ONCE_MORE.values(), ids=ONCE_MORE.keys())
async def test_a_reply_of_no_use_is_asked_for_once_more(server, tried, body):
    server.then(200, body, times=None)
    assert isinstance(await tried(), ProtocolError)
    assert len(server.requests) == 2


FINAL = {
    "S06": (429, {"json": {"error": {"code": "insufficient_quota", "message": "quota"}}}, RateLimited),
    "S09": (404, {}, BadRequest),
    "S10": (401, {}, AuthError),
    "N18": (302, {"headers": {"Location": "http://other/"}}, ProtocolError),
}


@pytest.mark.fault("S06")
@pytest.mark.fault("S09")
@pytest.mark.fault("S10")
@pytest.mark.fault("N18")
@pytest.mark.parametrize(("status", "how", "kind"), FINAL.values(), ids=FINAL.keys())
async def test_what_another_attempt_cannot_mend_is_final(server, tried, quick, status, how, kind):
    server.then(status, times=None, **how)
    assert isinstance(await tried(), kind)
    assert len(server.requests) == 1
    assert quick.slept == []


@pytest.mark.fault("N12")
async def test_a_reply_beyond_the_size_limit_is_final(server, tried):
    server.then_raw(LONG, end="hang")
    assert isinstance(await tried(), ProtocolError)
    assert len(server.requests) == 1


@pytest.mark.fault("S01")
async def test_a_wait_is_never_shorter_than_the_server_asks(server, lm, ask, quick):
    server.then(429, headers={"Retry-After": "0.7"}).then(200, json=ANSWER)
    async with quick.app():
        await ask(lm(num_retries=3))
    assert 0.7 <= quick.slept[0] <= 1.7


@pytest.mark.fault("S03")
async def test_a_wait_beyond_the_deadline_is_not_begun(server, tried, quick):
    server.then(429, headers={"Retry-After": "86400"}, times=None)
    assert (await tried()).retry_after == 86400.0
    assert len(server.requests) == 1
    assert quick.slept == []


@pytest.mark.fault("N08")
@pytest.mark.fault("N09")
@pytest.mark.fault("N10")
@pytest.mark.parametrize("chunks", [(), [b"H", b"T", b"T", b"P"], (CUT, *[b" "] * 40)], ids=["N08", "N09", "N10"])
async def test_a_stalled_reply_ends_with_the_calls_time(server, lm, ask, in_time, chunks):
    server.then_raw(*chunks, every=0.02, end="hang", times=None)
    model = lm(timeout=0.2)
    assert model.service.name == "openai/acme-1"
    with pytest.raises(LMTimeout, match="timeout="):
        await in_time(0.2 * 1.1 + 0.05, ask(model))
    assert await asyncio.to_thread(server.wait, lambda s: s.closed == s.connections, 1.0)
