"""The cache as a service: replies by content key; a backend that fails costs misses, never a call."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from dspex.core.messages import LMResponse

if TYPE_CHECKING:
    from dspex.plugin.contracts import CacheBackend

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(LMResponse)

NOT_KEPT = frozenset({"length", "content_filter"})


class Cache:
    """A cache by its plugin's name, with that plugin's options: `configure(cache=dspex.Cache("sqlite", ttl=3600))`."""

    __slots__ = ("name", "options")

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.options = options

    def __repr__(self) -> str:
        return f"Cache({', '.join([repr(self.name), *(f'{name}={value!r}' for name, value in self.options.items())])})"


class CacheService:
    """Whole replies over one backend; truncated and filtered ones are not kept."""

    def __init__(self, backend: "CacheBackend", warn: Callable[[str], None]) -> None:
        self.backend = backend
        self.hits = 0
        self.misses = 0
        self._warn = warn
        self._warned = False
        self._peek: Callable[[bytes], bytes | None] | None = getattr(backend, "peek", None)

    def peek(self, key: bytes) -> LMResponse | None:
        """A reply that can be had without waiting."""
        if self._peek is None:
            return None
        try:
            return self._found(self._peek(key))
        except Exception as error:  # noqa: BLE001  the backend is a plugin: whatever it raises is a miss
            self._failed("read", error)
            return None

    async def get(self, key: bytes) -> LMResponse | None:
        """A reply, for backends that cannot peek."""
        if self._peek is not None:
            return None
        try:
            return self._found(await self.backend.get(key))
        except Exception as error:  # noqa: BLE001  as above
            self._failed("read", error)
            return None

    async def keep(self, key: bytes, reply: LMResponse) -> None:
        """Keep a whole reply."""
        self.misses += 1
        if any(choice.finish_reason in NOT_KEPT for choice in reply.choices):
            return
        try:
            await self.backend.set(key, _encoder.encode(reply))
        except Exception as error:  # noqa: BLE001  as above
            self._failed("write", error)

    async def forget(self, key: bytes) -> None:
        """Drop a reply that turned out to be of no use."""
        try:
            await self.backend.delete(key)
        except Exception as error:  # noqa: BLE001  as above
            self._failed("delete", error)

    def _found(self, value: bytes | None) -> LMResponse | None:
        if value is None:
            return None
        reply: LMResponse = _decoder.decode(value)
        self.hits += 1
        return reply

    def _failed(self, what: str, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            name = type(self.backend).__name__
            self._warn(f"The cache {name} cannot {what} ({type(error).__name__}: {error}); calls go on without it.")
