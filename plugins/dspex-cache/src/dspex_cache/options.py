"""What a user may set, and where the file lies when nothing is set."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec

from dspex.plugin import ConfigurationError

FILE_NAME = "cache.sqlite"

Bytes = Annotated[int, msgspec.Meta(ge=65_536)]


class CacheOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a cache is kept.

    `path` is the SQLite file, `max_bytes` bounds it, `memory_bytes` bounds what is kept in memory, and `ttl` is the
    life of an entry in seconds, None for no end.
    """

    path: str | None = None
    max_bytes: Bytes = 1 << 30
    memory_bytes: Bytes = 64 << 20
    ttl: Annotated[float, msgspec.Meta(gt=0)] | None = None


class Clock(Protocol):
    """The kernel's seam for time, as far as a cache needs it; in seconds."""

    def now(self) -> float:
        """Wall clock, since the epoch: an entry's age must survive the process."""

    def monotonic(self) -> float:
        """Never goes back; for waits."""

    async def sleep(self, seconds: float) -> None:
        """Wait on the running loop."""


class SystemClock:
    """The machine's clocks, for a cache that is made by hand."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)


def resolve(given: CacheOptions | Mapping[str, Any] | None) -> CacheOptions:
    """Options in any of the forms in which they arrive. Raises ConfigurationError that names the wrong one."""
    fields = msgspec.structs.asdict(given) if isinstance(given, CacheOptions) else dict(given or {})
    if isinstance(fields.get("path"), os.PathLike):
        fields["path"] = os.fspath(fields["path"])
    try:
        return msgspec.convert(fields, CacheOptions)
    except msgspec.ValidationError as error:
        known = ", ".join(CacheOptions.__struct_fields__)
        raise ConfigurationError(f"A cache cannot be made with {fields!r}: {error}. Known options: {known}.") from error


def file_of(options: CacheOptions) -> Path:
    """The SQLite file: `path`, else below DSPEX_CACHE_DIR, else in the platform's folder for a user's caches."""
    if options.path is not None:
        return Path(options.path).expanduser().absolute()
    folder = os.environ.get("DSPEX_CACHE_DIR")
    if folder:
        return Path(folder).expanduser().absolute() / FILE_NAME
    import platformdirs

    return Path(platformdirs.user_cache_dir("dspex")) / FILE_NAME
