"""The aiohttp session of one loop: opened late, closed with the loop or the process, and nothing is said about it."""

import asyncio
import os
import weakref
from contextlib import suppress
from contextvars import ContextVar
from socket import socket
from types import MappingProxyType
from typing import Any

from dspex.plugin.per_loop import at_loop_end

# Where a request sets a list, each socket made for it leaves an entry: none means that it went out on a kept connection.
NEW_SOCKETS: ContextVar[list[None] | None] = ContextVar("new_sockets", default=None)


OWN_HEADERS = MappingProxyType({"user-agent": "dspex", "accept-encoding": "gzip"})


class Pool:
    """The session of one loop. It closes itself when the loop or the process ends, or when nobody holds it any more."""

    def __init__(self, connect_s: float) -> None:
        from aiohttp import BytesPayload, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

        self.payload = BytesPayload
        self._connector = TCPConnector(limit=0, socket_factory=_new_socket)
        self.session = ClientSession(
            connector=self._connector,
            headers=OWN_HEADERS,
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None, sock_connect=connect_s),
            auto_decompress=False,
        )
        self._loop, self._pid = asyncio.get_running_loop(), os.getpid()
        self._ending = at_loop_end(self.session.close)
        weakref.finalize(self, _leave, weakref.ref(self))

    async def aclose(self) -> None:
        """Close its connections; the end of the loop may be about the same at this moment."""
        await self.session.close()
        if not self._ending.ag_running:
            await self._ending.aclose()  # never waits now, so that the loop's end cannot meet it half-way

    def leave(self) -> None:
        """Close at the process's end, on the loop: it stands still, or runs in another thread."""
        if not self._loop.is_closed() and os.getpid() == self._pid:
            with suppress(Exception):
                if self._loop.is_running():
                    asyncio.run_coroutine_threadsafe(self.aclose(), self._loop).result(timeout=1.0)
                else:
                    self._loop.run_until_complete(self.aclose())
        self._hush()

    def __del__(self) -> None:
        if self._loop.is_closed():
            self._hush()

    def _hush(self) -> None:
        # The loop is gone without that hook, or belongs to the process that we were forked from: to close the sockets
        # is past hope or would harm the other, and aiohttp should not complain of them.
        self._connector._closed = True


def _leave(pool: "weakref.ref[Pool]") -> None:
    found = pool()
    if found is not None:  # so it is the process that ends, and not only the pool
        found.leave()


def _new_socket(address: Any) -> socket:
    """A socket as aiohttp would make it, seen by the request that needs it: so a kept connection can be told."""
    made = NEW_SOCKETS.get()
    if made is not None:
        made.append(None)
    return socket(family=address[0], type=address[1], proto=address[2])
