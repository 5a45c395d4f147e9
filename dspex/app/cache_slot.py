"""The cache of an App: made at first use as the settings say, and off when it fails for good."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dspex.app.plugged import Owner, made
from dspex.core.errors import ConfigurationError
from dspex.service.cache import Cache, CacheService

if TYPE_CHECKING:
    from dspex.core.errors import SupervisorFailed


class CacheSlot:
    """The cache in use, None where there is none. `on_fault(backend, message)` hears what it could not do."""

    def __init__(self, owner: Owner, wanted: Callable[[], Any], on_fault: Callable[[str, str], None]) -> None:
        self._owner = owner
        self._wanted = wanted
        self._on_fault = on_fault
        self._service: CacheService | None = None
        self._is_made = False
        self._used: dict[int, CacheService] = {}  # also those that another has replaced

    def get(self) -> CacheService | None:
        """The cache, made at first use."""
        if not self._is_made:
            with self._owner.lock:
                if not self._is_made:
                    self._service = self._made()
                    self._is_made = True
                    if self._service is not None:
                        self._used[id(self._service.backend)] = self._service
        return self._service

    def reset(self) -> None:
        """Make it again when it is next asked for, as the settings have changed."""
        with self._owner.lock:
            self._is_made, self._service = False, None

    def emptied(self) -> list[CacheService]:
        """Those that are to be closed; there is none any more."""
        with self._owner.lock:
            caches, self._used = list(self._used.values()), {}
            self._service, self._is_made = None, False
        return caches

    def forked(self) -> None:
        """In a forked child: the parent's are not ours."""
        self._service, self._is_made, self._used = None, False, {}

    def _made(self) -> CacheService | None:
        wanted, owner = self._wanted(), self._owner
        if wanted is False:
            return None
        if wanted is None or wanted is True:
            if owner.plugins.find("caches", "default") is None:
                return None
            wanted = Cache("default")
        elif isinstance(wanted, str):
            wanted = Cache(wanted)
        backend = wanted
        if isinstance(wanted, Cache):
            factory = owner.plugins.spec("caches", wanted.name, f"configure(cache={wanted.name!r})").load()
            backend = made(factory, wanted.name, wanted.options, owner.clock)
        if not hasattr(backend, "set"):
            raise ConfigurationError(f"cache={wanted!r} is no CacheBackend, nor a name, a dspex.Cache or False.")
        background = getattr(backend, "background", None)
        if background is not None:
            owner.supervise("cache", background, on_failure=self._gave_up)
        return CacheService(backend, self._failed, owner.clock)

    def _failed(self, message: str) -> None:
        self._on_fault("" if self._service is None else type(self._service.backend).__name__, message)

    def _gave_up(self, error: "SupervisorFailed") -> None:
        # As with any other fault of a cache: it costs misses, and no call.
        self._failed(f"The cache is off until it is configured again. {error}")
        self._service = None
