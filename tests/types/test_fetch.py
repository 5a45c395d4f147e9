"""What a user names by URL is fetched from public addresses only, hop by hop, within bounds."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from dspex.core.errors import InputError
from dspex.service.fetch import Reply, connected, fetch, is_public
from dspex.testing.fault_server import FaultServer

PUBLIC = "93.184.216.34"


class Web:
    """Hosts with their addresses, and pages; keeps which addresses were called."""

    def __init__(self, hosts=(), **pages):
        self.hosts = dict(hosts)
        self.pages = pages
        self.called = []

    async def resolve(self, host, port):
        return self.hosts.get(host, [PUBLIC])

    @asynccontextmanager
    async def connect(self, url, addresses):
        self.called.append((url, *addresses))
        status, headers, chunks = self.pages[url.partition("?")[0].rpartition("/")[2]]

        async def pieces():
            for chunk in chunks:
                yield chunk

        yield Reply(status, headers, pieces())

    async def get(self, url, max_bytes=100, timeout=5.0):
        return await fetch(url, max_bytes=max_bytes, timeout=timeout, resolve=self.resolve, connect=self.connect)


def page(*chunks, status=200, **headers):
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, chunks


async def test_a_page_comes_with_its_kind():
    web = Web(cat=page(b"ab", b"cd", content_type="image/PNG; q=1"))
    found = await web.get("https://host/cat")
    assert (found.body, found.kind) == (b"abcd", "image/png")
    assert web.called == [("https://host/cat", PUBLIC)]


@pytest.mark.fault("X11")
@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.0.0.1",
            "172.16.3.4",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("::1", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::a9fe:a9fe"),
    ],
)
async def test_a_host_that_is_not_public_is_never_called(address):
    assert not is_public(address)
    web = Web({"host": [PUBLIC, address]}, x=page(b"secret"))
    with pytest.raises(InputError, match="not public"):
        await web.get("http://host/x")
    assert not web.called


@pytest.mark.parametrize("address", [PUBLIC, "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"])
def test_public_addresses(address):
    assert is_public(address)


@pytest.mark.fault("X11")
@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/x", "http://localhost/x", "http://2130706433/x", "http://0x7f.1/x", "http://[::1]/x"),
        *("file:///etc/passwd", "ftp://host/x", "x", "http://", "http://user:pw@host/x", "http://[/x"),
    ],
)
async def test_an_address_that_means_this_machine_or_no_host_is_refused(url):
    # With the system's resolver, which answers for these without a network.
    with pytest.raises(InputError):
        await fetch(url, max_bytes=10, timeout=5.0, connect=Web(x=page(b"secret")).connect)


@pytest.mark.fault("X11")
@pytest.mark.parametrize(
    ("target", "fault"),
    [("http://inside/x", "not public"), ("//inside/x", "not public"), ("file:///etc/passwd", "only http")],
)
async def test_each_redirect_is_checked_anew(target, fault):
    web = Web({"inside": ["10.1.1.1"]}, a=page(status=302, location=target), x=page(b"secret"))
    with pytest.raises(InputError, match=fault):
        await web.get("https://host/a")
    assert len(web.called) == 1


async def test_redirects_are_followed_and_counted():
    web = Web(a=page(status=301, location="/b"), b=page(b"here"), c=page(status=302, location="c"))
    assert (await web.get("https://host/a")).body == b"here"
    with pytest.raises(InputError, match="more than 5 redirects"):
        await web.get("https://host/c")


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (page(b"a" * 60, b"a" * 60), "beyond the limit of 100 bytes"),
        (page(content_length="101"), "has 101 bytes, beyond the limit of 100"),
        (page(b"x", content_encoding="gzip"), "encoding"),
        (page(b"x", status=404), "status 404"),
        (page(b"x", status=302), "status 302"),
    ],
)
async def test_a_reply_that_cannot_be_used_is_an_error_that_says_why(reply, fault):
    with pytest.raises(InputError, match=fault):
        await Web(x=reply).get("https://host/x?key=secret")


async def test_time_is_bounded_and_what_breaks_is_told_without_the_query():
    class Slow(Web):
        async def resolve(self, host, port):
            await asyncio.sleep(60)

    class Broken(Web):
        async def resolve(self, host, port):
            raise OSError("no such host")

    with pytest.raises(InputError, match=r"within 0.01 s"):
        await Slow().get("https://host/x", timeout=0.01)
    with pytest.raises(InputError, match="no such host") as caught:
        await Broken().get("https://host/x?key=secret")
    assert "secret" not in str(caught.value)


@pytest.mark.fault("X11")
async def test_a_connection_goes_to_the_address_that_was_looked_at():
    with FaultServer() as server:
        server.then(200, body=b"\x89PNG", headers={"content-type": "image/png"})
        port = server.url.rpartition(":")[2].strip("/")
        async with connected(f"http://pictures.example:{port}/cat.png", ["127.0.0.1"]) as reply:
            assert (reply.status, reply.headers["content-type"]) == (200, "image/png")
            assert b"".join([chunk async for chunk in reply.chunks]) == b"\x89PNG"
        assert server.requests[0].path == "/cat.png"
