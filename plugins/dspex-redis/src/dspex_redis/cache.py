"""The backend: bytes by key in a Redis server; one client a loop, whatever fails is a miss."""

import asyncio
import math
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from dspex.plugin import PerLoop
from dspex_redis.options import RedisOptions, resolve, shown

if TYPE_CHECKING:
    from redis.asyncio import Redis

HEAD = struct.Struct(">dd")  # when it was kept, and for how many seconds
AT_ONCE = 500  # keys that are asked for together


class Clock(Protocol):
    """The kernel's seam for time, as far as it is needed here."""

    def now(self) -> float:
        """Seconds since the epoch."""


class RedisCache:
    """A `CacheBackend` in Redis; a server that is down, slow or full costs misses, and no call.

    Raises ConfigurationError for options that cannot be; the server is first looked for at the first call.
    """

    def __init__(self, options: RedisOptions | Mapping[str, Any] | None = None, clock: Clock | None = None) -> None:
        self.options = resolve(options)
        self.patience = self.options.patience
        self._now = time.time if clock is None else clock.now
        self._prefix = self.options.prefix.encode()
        self._clients: PerLoop[Redis] = PerLoop(self._client, _closed, ends_with_loop=True)

    async def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        found = await heeded(self._clients.get().get(self._prefix + key))
        if found is None or len(found) < HEAD.size:
            return None
        kept, life = HEAD.unpack_from(found)
        # The server ends a life by its own clock; a value is not to live on where ours has jumped.
        value: bytes = found[HEAD.size :]
        return value if abs(self._now() - kept) < life else None

    async def set(self, key: bytes, value: bytes, ttl: float | None = None) -> None:
        """Keep a value, for `ttl` seconds or as the options say."""
        life = self.options.ttl if ttl is None else ttl
        if len(value) > self.options.max_bytes:
            return
        whole = HEAD.pack(self._now(), math.inf if life is None else life) + value
        milliseconds = None if life is None else max(1, math.ceil(life * 1000))
        await heeded(self._clients.get().set(self._prefix + key, whole, px=milliseconds))

    async def delete(self, key: bytes) -> None:
        """Forget a value; an absent one is no error."""
        await heeded(self._clients.get().unlink(self._prefix + key))

    async def clear(self) -> None:
        """Forget all of this prefix; what others keep in the same server stays."""
        client = self._clients.get()
        async for keys in self._keys(client):
            await client.unlink(*keys)

    async def stats(self) -> Mapping[str, float]:
        """`entries` and `bytes` of this prefix; it asks for every key."""
        client, entries, size = self._clients.get(), 0, 0
        async for keys in self._keys(client):
            pipeline = client.pipeline(transaction=False)
            for key in keys:
                pipeline.strlen(key)
            # What others keep there in another form has no length.
            lengths = [one for one in await pipeline.execute(raise_on_error=False) if isinstance(one, int)]
            entries += len(lengths)
            size += sum(lengths)
        return {"entries": entries, "bytes": size}

    async def aclose(self) -> None:
        """Close the connections of all loops."""
        await self._clients.aclose()

    async def _keys(self, client: "Redis") -> AsyncIterator[list[bytes]]:
        pattern = b"".join(b"\\" + bytes([byte]) if byte in b"*?[]\\^-" else bytes([byte]) for byte in self._prefix)
        keys: list[bytes] = []
        async for key in client.scan_iter(match=pattern + b"*", count=AT_ONCE):
            keys.append(key)
            if len(keys) == AT_ONCE:
                yield keys
                keys = []
        if keys:
            yield keys

    def _client(self) -> "Redis":
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        # One connection that has died is replaced at once; a server that is down is the kernel's matter, which lets it rest.
        pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
            self.options.url or "",
            max_connections=self.options.connections,
            timeout=self.patience,
            socket_connect_timeout=self.patience,
            socket_timeout=self.patience,
            retry=Retry(NoBackoff(), 1),
        )
        return Redis.from_pool(pool)

    def __repr__(self) -> str:
        return f"RedisCache({shown(self.options.url or '')!r}, prefix={self.options.prefix!r})"


async def heeded(work: Awaitable[Any]) -> Any:
    """Its result; a call that was cancelled meanwhile ends as such, where redis drops that (it cancels by timers of its own)."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    found = await work
    if task and task.cancelling() > before:
        raise asyncio.CancelledError
    return found


async def _closed(client: "Redis") -> None:
    await client.aclose()
