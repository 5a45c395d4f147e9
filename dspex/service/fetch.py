"""Fetch what a user names by URL: from public addresses only, each redirect checked anew, bounded in size and time."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

import msgspec

from dspex.core.errors import InputError
from dspex.runtime.stepping import HOP

MAX_HOPS = 5
_NAT64 = IPv6Network("64:ff9b::/96")  # an IPv4 address in its last 32 bits


class Fetched(msgspec.Struct, frozen=True):
    """A body, and what kind of data its server calls it."""

    body: bytes
    kind: str


class Reply(msgspec.Struct, frozen=True):
    """The head of a reply, and its body piece by piece; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Connect = Callable[[str, Sequence[str]], AbstractAsyncContextManager[Reply]]


async def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, as the system knows them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(row[4][0]) for row in found]


@asynccontextmanager
async def connected(url: str, addresses: Sequence[str]) -> AsyncGenerator[Reply, None]:
    """The reply of one GET to one of these addresses, whatever the URL's host may mean by now; follows no redirect."""
    import aiohttp

    known: Any = _Known(addresses)
    connector = aiohttp.TCPConnector(resolver=known, use_dns_cache=False, force_close=True)
    headers = {"user-agent": "dspex", "accept-encoding": "identity"}
    jar = aiohttp.DummyCookieJar()
    async with (
        aiohttp.ClientSession(connector=connector, cookie_jar=jar, auto_decompress=False) as session,
        session.get(url, headers=headers, allow_redirects=False) as response,
    ):
        named = {name.lower(): value for name, value in response.headers.items()}
        yield Reply(response.status, named, response.content.iter_any())


class _Known:
    """A resolver that knows only addresses that were looked at."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[Any]:
        return [
            {"hostname": host, "host": one, "port": port, "proto": 0, "flags": socket.AI_NUMERICHOST}
            | {"family": socket.AF_INET6 if ":" in one else socket.AF_INET}
            for one in self._addresses
        ]

    async def close(self) -> None:
        pass


async def fetch(
    url: str, *, max_bytes: int, timeout: float, resolve: Resolve = resolved, connect: Connect = connected
) -> Fetched:
    """What stands at a URL; `timeout` in seconds covers all of it. Raises InputError."""
    await HOP
    try:
        async with asyncio.timeout(timeout):
            return await _followed(url, max_bytes, resolve, connect)
    except TimeoutError:
        raise InputError(f"{_shown(url)} was not fetched within {timeout:g} s.") from None
    except InputError:
        raise
    except Exception as error:  # whatever a resolver, a connection or a server does
        why = str(error) if isinstance(error, OSError) else type(error).__name__  # others' texts may have the whole URL
        raise InputError(f"{_shown(url)} cannot be fetched: {why}.") from error


async def _followed(url: str, max_bytes: int, resolve: Resolve, connect: Connect) -> Fetched:
    from yarl import URL  # reads an address as the connection will

    place = URL(url)
    for _ in range(MAX_HOPS + 1):
        addresses = await _public(place, resolve)
        async with connect(str(place), addresses) as reply:
            if reply.status in {301, 302, 303, 307, 308} and "location" in reply.headers:
                place = place.join(URL(reply.headers["location"]))
                continue
            return await _read(reply, _shown(str(place)), max_bytes)
    raise InputError(f"{_shown(url)} leads through more than {MAX_HOPS} redirects.")


async def _public(place: Any, resolve: Resolve) -> Sequence[str]:
    if place.scheme not in ("http", "https") or not place.host or place.user or place.password:
        raise InputError(f"{_shown(str(place))} is not fetched: only http(s) addresses without a password are.")
    addresses = await resolve(place.host, place.port or 0)
    closed = [one for one in addresses if not is_public(one)]
    if closed or not addresses:
        shown = ", ".join(closed) or "no address"
        raise InputError(f"{_shown(str(place))} is not fetched: its host is {shown}, which is not public.")
    return addresses


def is_public(address: str) -> bool:
    """Whether an address belongs to the open internet, also one of IPv4 that is written within IPv6."""
    found: IPv4Address | IPv6Address | None = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        teredo = found.teredo and found.teredo[1]
        nat64 = IPv4Address(int(found) & 0xFFFFFFFF) if found in _NAT64 else None
        found = found.ipv4_mapped or found.sixtofour or teredo or nat64 or found
    return found is not None and found.is_global and not found.is_multicast


async def _read(reply: Reply, shown: str, max_bytes: int) -> Fetched:
    if reply.status != 200:
        raise InputError(f"{shown} answers with status {reply.status}.")
    if reply.headers.get("content-encoding", "identity") != "identity":
        raise InputError(f"{shown} answers in an encoding that was not asked for.")
    parts, size = [], 0
    announced = reply.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise InputError(
            f"{shown} has {announced} bytes, beyond the limit of {max_bytes}; pass max_bytes= to allow it."
        )
    async for chunk in reply.chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise InputError(f"{shown} goes on beyond the limit of {max_bytes} bytes; pass max_bytes= to allow it.")
    return Fetched(b"".join(parts), reply.headers.get("content-type", "").partition(";")[0].strip().lower())


def _shown(url: str) -> str:
    """An address for people: no password, no query."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.split('?')[0].split('#')[0].rpartition('@')[2]}"[:200]
