"""Faults of the network: each is one of our errors, in bounded time and memory, and the next call is a good one."""

import asyncio
import gzip
import socket
import ssl
import tracemalloc
import zlib
from pathlib import Path

import pytest

from dspex.core.endpoint import Endpoint
from dspex.core.errors import ConfigurationError, LMTimeout, ProtocolError, Unavailable
from dspex.core.wire import HttpLimits
from dspex.service.http import HttpService
from dspex.testing.fault_server import FaultServer, head

MIB = 1 << 20
ANSWER = b'{"answer": 4}'


async def answers(http: HttpService) -> bool:
    return (await http.request("POST", "/chat", json={"q": 1})).body == ANSWER


@pytest.fixture
def after(server, http):
    """A good call in the same process still works."""

    async def after() -> None:
        server.then(200, ANSWER)
        async with asyncio.timeout(2):
            assert await answers(http)

    return after


@pytest.fixture
def free_port():
    """A port that is bound and that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.fault("N01")
async def test_a_refused_connection_says_where_and_asks_whether_a_server_runs(client, failure, free_port, after):
    error = await failure(client(f"http://127.0.0.1:{free_port}"))
    assert isinstance(error, Unavailable)
    assert error.retryable is None
    assert f"127.0.0.1:{free_port}" in str(error)
    assert "Does the server run there?" in str(error)
    await after()


@pytest.mark.fault("N02")
async def test_a_name_that_is_not_found_is_unavailable(client, failure):
    error = await failure(client("http://nobody.invalid/v1"))
    assert isinstance(error, Unavailable)
    assert "nobody.invalid" in str(error)
    assert "api_base" in str(error)


@pytest.mark.fault("N02")
async def test_a_resolver_that_hangs_ends_with_the_callers_deadline(client, in_time, monkeypatch):
    async def hang(*_args, **_options):
        await asyncio.sleep(1e6)

    async def asked():
        async with asyncio.timeout(0.1):
            await client("http://slow.example/v1").request("POST", "/chat", json={})

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)
    with pytest.raises(TimeoutError):
        await in_time(0.1 * 1.1 + 0.05, asked())


@pytest.mark.fault("N03")
async def test_a_certificate_that_is_not_trusted_is_final_and_says_how_to_trust_it(client, failure):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).with_name("untrusted.pem"))
    with FaultServer(tls=context) as secure:
        error = await failure(client(secure.url))
    assert isinstance(error, Unavailable)
    assert error.retryable is False
    assert "SSL_CERT_FILE" in str(error)


@pytest.mark.fault("N03")
async def test_tls_on_a_plain_port_is_final(client, failure):
    def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as plain:
        error = await failure(client(f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}"))
    assert isinstance(error, Unavailable)
    assert error.retryable is False


@pytest.mark.fault("N04")
async def test_a_handshake_that_is_never_answered_ends_after_the_connect_bound(client, failure):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        error = await failure(client(f"https://127.0.0.1:{silent.getsockname()[1]}", connect_s=0.1))
    assert isinstance(error, LMTimeout)
    assert "0.1 s" in str(error)


@pytest.mark.fault("N05")
async def test_a_reset_before_the_reply_is_unavailable_and_sent_once(server, http, failure, after):
    server.then_raw(end="reset")
    error = await failure(http)
    assert isinstance(error, Unavailable)
    assert len(server.requests) == 1
    await after()


@pytest.mark.fault("N06")
async def test_a_reset_in_the_middle_of_the_body_may_be_tried_again(server, http, failure, after):
    server.then_raw(head(200, {"Content-Length": "1000"}) + b"x" * 500, end="reset")
    error = await failure(http)
    assert isinstance(error, (ProtocolError, Unavailable))
    assert error.retryable is None
    await after()


@pytest.mark.fault("N07")
async def test_a_body_that_ends_before_its_announced_length_is_no_answer(server, http, failure, after):
    server.then_raw(head(200, {"Content-Length": str(len(ANSWER) + 400)}) + ANSWER)
    error = await failure(http)
    assert isinstance(error, ProtocolError)
    assert error.retryable is None
    await after()


STALLS = {
    "N08-no-headers": {"chunks": (), "end": "hang"},
    "N09-headers-by-drips": {"chunks": (b"H", b"T", b"T"), "every": 0.02, "end": "hang"},
    "N10-body-by-drips": {"chunks": (head(200, {"Content-Length": "9"}), b"1", b"2"), "every": 0.02, "end": "hang"},
}


@pytest.mark.fault("N08")
@pytest.mark.fault("N09")
@pytest.mark.fault("N10")
@pytest.mark.parametrize("stall", STALLS.values(), ids=STALLS.keys())
async def test_the_callers_deadline_ends_a_stalled_exchange_and_its_connection(server, http, stall, after):
    stall = dict(stall)
    server.then_raw(*stall.pop("chunks"), **stall)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await http.request("POST", "/chat", json={"q": 1})
    assert await asyncio.to_thread(server.wait, lambda s: s.closed == 1, 1.0)
    await after()


async def test_a_body_that_falls_silent_ends_after_the_idle_bound(server, client, failure):
    server.then_raw(head(200, {"Content-Length": "9"}) + b"1", end="hang")
    error = await failure(client(idle_s=0.1))
    assert isinstance(error, LMTimeout)
    assert "0.1 s" in str(error)
    assert await asyncio.to_thread(server.wait, lambda s: s.closed == 1, 1.0)


@pytest.mark.fault("N11")
@pytest.mark.fault("R19")
async def test_a_body_without_end_is_left_at_the_limit_and_not_drained(server, client, failure, after):
    endless = b"%x\r\n%s\r\n" % (65536, b"x" * 65536)
    server.then_raw(head(200, {"Transfer-Encoding": "chunked"}), endless=endless)
    tracemalloc.start()
    try:
        error = await failure(client(body=2 * MIB))
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()
    assert isinstance(error, ProtocolError)
    assert error.retryable is False
    assert await asyncio.to_thread(server.wait, lambda s: s.closed == 1, 1.0)
    assert server.sent < 32 * MIB  # what fits into the sockets' buffers
    await after()


@pytest.mark.fault("N12")
async def test_an_announced_body_over_the_limit_is_not_read(server, http, failure, after):
    server.then_raw(head(200, {"Content-Length": str(400 * MIB)}), end="hang")
    error = await failure(http)
    assert isinstance(error, ProtocolError)
    assert error.retryable is False
    assert str(400 * MIB) in str(error)
    await after()


def gzip_bomb(mebibytes: int) -> bytes:
    packer = zlib.compressobj(level=1, wbits=31)
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(mebibytes)), packer.flush()])


@pytest.mark.fault("N13")
@pytest.mark.fault("R19")
async def test_a_gzip_bomb_ends_at_the_limit_of_what_comes_out(server, http, failure, after):
    server.then(200, gzip_bomb(64), headers={"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        error = await failure(http)
        assert tracemalloc.get_traced_memory()[1] < 40 * MIB
    finally:
        tracemalloc.stop()
    assert isinstance(error, ProtocolError)
    assert error.retryable is False
    await after()


@pytest.mark.parametrize("members", [1, 3])
async def test_gzip_is_asked_for_and_understood(server, http, members):
    cuts = [ANSWER[:3], ANSWER[3:7], ANSWER[7:]] if members == 3 else [ANSWER]
    server.then(200, b"".join(map(gzip.compress, cuts)), headers={"Content-Encoding": "gzip"})
    assert await answers(http)
    assert server.requests[0].headers["accept-encoding"] == "gzip"


DAMAGE = {
    "cut": (gzip.compress(b"x" * 1000)[:-9], "gzip"),
    "corrupt": (gzip.compress(b"x" * 1000)[:12] + b"\xff\xff\xff\xff", "gzip"),
    "not-gzip": (ANSWER, "gzip"),
    "not-asked-for": (ANSWER, "br"),
}


@pytest.mark.fault("N14")
@pytest.mark.parametrize(("body", "encoding"), DAMAGE.values(), ids=DAMAGE.keys())
async def test_damaged_or_unasked_compression_may_be_tried_again(server, http, failure, body, encoding, after):
    server.then(200, body, headers={"Content-Encoding": encoding})
    error = await failure(http)
    assert isinstance(error, ProtocolError)
    assert error.retryable is None
    await after()


NO_HTTP = {
    "chunk-size": head(200, {"Transfer-Encoding": "chunked"}) + b"zz\r\nabc\r\n",
    "no-http": b"\x16\x03\x01 hello, I am a mail server\r\n\r\n",
    "echo-of-the-key": b"Authorization: Bearer sk-canary-0123456789\r\n\r\n",
    "huge-header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2 * MIB + b"\r\n\r\n",
    "many-headers": head(200, {f"x-{i}": "y" * 4000 for i in range(100)} | {"Content-Length": "0"}),
}


@pytest.mark.fault("N15")
@pytest.mark.parametrize("raw", NO_HTTP.values(), ids=NO_HTTP.keys())
async def test_what_is_not_http_may_be_tried_again(server, http, failure, raw, after):
    server.then_raw(raw)
    error = await failure(http)
    assert isinstance(error, ProtocolError)
    assert error.retryable is None
    await after()


@pytest.mark.fault("N15")
@pytest.mark.parametrize("end", ["close", "hang"])
async def test_a_body_that_breaks_its_encoding_late_is_noticed(server, http, failure, end, after, monkeypatch):
    monkeypatch.setattr("dspex.service.http.LOOK_S", 0.05)
    server.then_raw(head(200, {"Transfer-Encoding": "chunked"}), b"zz\r\n{}\r\n", every=0.02, end=end)
    error = await failure(http)
    assert isinstance(error, ProtocolError)
    assert error.retryable is None
    await after()


@pytest.mark.fault("N16")
async def test_early_hints_before_the_reply_are_passed_over(server, http):
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    server.then_raw(hints + head(200, {"Content-Length": str(len(ANSWER))}) + ANSWER)
    assert await answers(http)
    assert len(server.requests) == 1


@pytest.mark.fault("N17")
@pytest.mark.parametrize("end", ["reset", "close"])
async def test_a_kept_connection_found_dead_is_replaced_at_once(server, http, end):
    server.then(200, ANSWER).then_raw(end=end).then(200, ANSWER)
    assert await answers(http)
    assert await answers(http)
    assert [seen.connection for seen in server.requests] == [1, 1, 2]


@pytest.mark.fault("N17")
async def test_a_part_of_a_reply_on_a_kept_connection_is_not_sent_again(server, http, failure):
    server.then(200, ANSWER).then_raw(b"HTTP/1.1 200 OK\r\nContent-")
    assert await answers(http)
    await failure(http)
    assert len(server.requests) == 2


@pytest.mark.fault("N18")
@pytest.mark.parametrize(
    ("status", "place"),
    [
        (301, "{other}/take"),
        (302, "/v1/chat"),
        (303, "{other}/take"),
        (307, "{other}/take"),
        (308, "file:///etc/passwd"),
    ],
    ids=str,
)
async def test_a_redirect_is_not_followed_and_no_key_leaves(server, http, failure, status, place):
    with FaultServer() as other:
        server.then(status, headers={"Location": place.format(other=other.url)})
        error = await failure(http)
        assert not other.requests
    assert isinstance(error, ProtocolError)
    assert error.retryable is False
    assert len(server.requests) == 1


@pytest.mark.fault("N19")
@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream; charset=utf-8", ""])
async def test_the_content_type_of_a_whole_reply_does_not_matter(server, http, kind):
    server.then(200, ANSWER, headers={"Content-Type": kind})
    assert await answers(http)


@pytest.mark.fault("N23")
@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://host/v1", "http://", "https:///v1", "api.acme.com/v1", "http://user:pw@host/v1", "",
     "http://host:port/v1", "http://host/v1?key=1", "http://host/v1#x", "http://ho st/", "http://host/\n"],
)  # fmt: skip
def test_an_address_that_is_not_plain_http_is_refused_when_made(url):
    with pytest.raises(ConfigurationError, match="https://host/v1") as caught:
        HttpService(Endpoint("acme", "acme-1", url))
    assert "pw" not in str(caught.value)


async def test_the_scheme_of_an_address_may_be_in_capitals(server, client):
    server.then(200, ANSWER, times=None)
    address = server.url.replace("http", "HTTP")
    for http, path in ((client(address), "/chat"), (client("http://127.0.0.1:1"), f"{address}/chat")):
        assert await http.request("POST", path, json={})
    assert [request.path for request in server.requests] == ["/chat", "/chat"]


@pytest.mark.parametrize("header", [("x\r\nevil", "1"), ("x-a", "1\r\nevil: 2"), ("x a", "1"), ("", "1")])
def test_a_header_that_would_break_out_of_its_line_is_refused_when_made(header):
    with pytest.raises(ConfigurationError, match="header"):
        HttpService(Endpoint("acme", "acme-1", "http://host", headers=dict([header])))


@pytest.mark.fault("N26")
async def test_many_calls_at_once_are_all_in_flight_together(server, http):
    server.then(200, ANSWER, gather=500, times=None)
    async with asyncio.timeout(10):
        assert all(await asyncio.gather(*(answers(http) for _ in range(500))))


async def test_a_large_body_is_sent_whole(server, http):
    server.then(200, ANSWER)
    await http.request("POST", "/chat", body=bytes(3 * MIB))
    assert len(server.requests[0].body) == 3 * MIB


async def test_a_cancelled_request_closes_its_connection(server, http):
    server.then_raw(end="hang")
    task = asyncio.create_task(http.request("POST", "/chat", json={}))
    assert await asyncio.to_thread(server.wait, lambda s: s.requests)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(server.wait, lambda s: s.closed == 1, 1.0)


def test_limits_have_the_documented_defaults():
    assert HttpLimits() == HttpLimits(10.0, 30.0, 16 * MIB, 65536, 65536, MIB)


async def test_a_whole_url_may_have_a_query_and_an_address_of_none_may_not(server, client):
    server.then(200, "ok", times=None)
    await client().request("GET", f"{server.url}/other?wait=true&x=%20")
    assert server.requests[-1].path == "/other?wait=true&x=%20"
    with pytest.raises(ConfigurationError, match="no query"):
        client(f"{server.url}/v1?wait=true")
