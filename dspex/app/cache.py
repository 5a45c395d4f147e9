"""The user's handle on the cache: `dspex.cache`, and `configure_cache` with DSPy's arguments."""

from collections.abc import Iterable
from pathlib import Path

from dspex.app.app import configure, current_app
from dspex.core.errors import ConfigurationError
from dspex.service.cache import Cache

CACHE_FILE = "cache.sqlite"


class CacheHandle:
    """The cache of the current App: its figures, and a way to empty it."""

    __slots__ = ()

    def stats(self) -> dict[str, float]:
        """`hits` and `misses` of this App, and the backend's own figures, as `entries` and `bytes`."""
        return current_app().bridge.run(self.astats())

    async def astats(self) -> dict[str, float]:
        """As `stats`."""
        service = current_app().cache_service()
        if service is None:
            return {"hits": 0, "misses": 0}
        return {"hits": service.hits, "misses": service.misses, **await service.backend.stats()}

    def clear(self) -> None:
        """Forget all that is kept, also for other processes that share the cache."""
        current_app().bridge.run(self.aclear())

    async def aclear(self) -> None:
        """As `clear`."""
        service = current_app().cache_service()
        if service is not None:
            await service.backend.clear()

    def __repr__(self) -> str:
        service = current_app().cache_service()
        return "<dspex.cache: none>" if service is None else f"<dspex.cache: {type(service.backend).__name__}>"


cache = CacheHandle()


def configure_cache(  # noqa: PLR0917  DSPy's order
    enable_disk_cache: bool = True,
    enable_memory_cache: bool = True,
    disk_cache_dir: str | Path | None = None,
    disk_size_limit_bytes: int | None = None,
    memory_max_entries: int | None = None,
    restrict_pickle: bool = True,  # noqa: ARG001  nothing here is pickled, whatever the answer
    safe_types: Iterable[type] | None = None,  # noqa: ARG001  as above
) -> None:
    """`dspex.configure(cache=...)` under DSPy's arguments; needs the plugin dspex-cache.

    None leaves a bound or the folder to the plugin. `restrict_pickle` and `safe_types` change nothing, as nothing is
    pickled. Raises ConfigurationError for `memory_max_entries`: memory is bounded in bytes.
    """
    if memory_max_entries is not None:
        raise ConfigurationError(
            "memory_max_entries is no option: memory is bounded in bytes, "
            'as in dspex.configure(cache=dspex.Cache("tiered", memory_bytes=2**26)).'
        )
    options = {
        "path": None if disk_cache_dir is None else str(Path(disk_cache_dir) / CACHE_FILE),
        "max_bytes": None if disk_size_limit_bytes is None else int(disk_size_limit_bytes),
    }
    given = {name: value for name, value in options.items() if value is not None}
    if enable_disk_cache:
        configure(cache=Cache("tiered" if enable_memory_cache else "sqlite", **given))
    else:
        configure(cache="memory" if enable_memory_cache else False)
