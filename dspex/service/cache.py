"""The cache as a service: replies by content key; a backend that fails costs misses, never a call."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from dspex.core.clock import Clock
from dspex.core.guests import PASSING
from dspex.core.messages import LMResponse
from dspex.service.patience import in_patience

if TYPE_CHECKING:
    from dspex.plugin.contracts import CacheBackend

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(LMResponse)

NOT_KEPT = frozenset({"length", "content_filter"})
PATIENCE_S = 0.05  # that a call waits for a backend, unless that says otherwise
REST_S = 5.0  # that one which took longer is left alone


class Cache:
    """A cache by its plugin's name, with that plugin's options: `configure(cache=dspex.Cache("sqlite", ttl=3600))`."""

    __slots__ = ("name", "options")

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.options = options

    def __repr__(self) -> str:
        return f"Cache({', '.join([repr(self.name), *(f'{name}={value!r}' for name, value in self.options.items())])})"


class CacheService:
    """Whole replies over one backend; truncated and filtered ones are not kept.

    A backend that fails, or takes longer than its `patience`, costs a miss and one warning.
    """

    def __init__(self, backend: "CacheBackend", warn: Callable[[str], None], clock: Clock) -> None:
        self.backend = backend
        self.hits = 0
        self.misses = 0
        self._warn = warn
        self._warned = False
        self._clock = clock
        self._patience: float = getattr(backend, "patience", PATIENCE_S)
        self._rests_until = float("-inf")
        self._peek: Callable[[bytes], bytes | None] | None = getattr(backend, "peek", None)

    def peek(self, key: bytes) -> LMResponse | None:
        """A reply that can be had without waiting."""
        if self._peek is None:
            return None
        try:
            return self._found(self._peek(key), _decoder.decode)
        except BaseException as error:  # noqa: BLE001  the backend is a plugin: whatever it raises is a miss
            self._failed("read", error)
            return None

    async def get(self, key: bytes) -> LMResponse | None:
        """A reply, for backends that cannot peek."""
        if self._peek is not None:
            return None
        try:
            return self._found(await self._read(key), _decoder.decode)
        except BaseException as error:  # noqa: BLE001  as above
            self._failed("read", error)
            return None

    async def load(self, key: bytes, decode: Callable[[bytes], T]) -> T | None:
        """A value of another kind than a reply; `decode` raises for bytes that are damaged."""
        try:
            value = await self._read(key) if self._peek is None else self._peek(key)
            return self._found(value, decode)
        except BaseException as error:  # noqa: BLE001  as above
            self._failed("read", error)
            return None

    async def store(self, key: bytes, value: bytes) -> None:
        """Keep a value of another kind."""
        self.misses += 1
        if self._rests:
            return
        try:
            await self._soon(self.backend.set(key, value))
        except BaseException as error:  # noqa: BLE001  as above
            self._failed("write", error)

    async def keep(self, key: bytes, reply: LMResponse) -> None:
        """Keep a whole reply."""
        if any(choice.finish_reason in NOT_KEPT for choice in reply.choices):
            self.misses += 1
        else:
            await self.store(key, _encoder.encode(reply))

    async def forget(self, key: bytes) -> None:
        """Drop a reply that turned out to be of no use."""
        try:
            await self._soon(self.backend.delete(key))
        except BaseException as error:  # noqa: BLE001  as above
            self._failed("delete", error)

    @property
    def _rests(self) -> bool:
        return self._clock.monotonic() < self._rests_until

    async def _read(self, key: bytes) -> bytes | None:
        return None if self._rests else await self._soon(self.backend.get(key))

    async def _soon(self, work: Awaitable[T]) -> T:
        try:
            return await in_patience(work, self._patience)
        except TimeoutError as error:
            self._rests_until = self._clock.monotonic() + REST_S
            raise TimeoutError(f"it takes more than {self._patience:g} s") from error

    def _found(self, value: bytes | None, decode: Callable[[bytes], T]) -> T | None:
        if value is None:
            return None
        found = decode(value)
        self.hits += 1
        return found

    def _failed(self, what: str, error: BaseException) -> None:
        if isinstance(error, PASSING):
            raise error
        if not self._warned:
            self._warned = True
            name = type(self.backend).__name__
            self._warn(f"The cache {name} cannot {what} ({type(error).__name__}: {error}); calls go on without it.")
