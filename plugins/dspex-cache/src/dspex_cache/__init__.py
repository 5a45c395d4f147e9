"""Caches for dspex: memory, a SQLite file, and memory over that file, which is the default where this is installed."""

from typing import Any

from dspex.plugin import Spec, hookimpl

__all__ = ["dspex_caches", "dspex_commands"]


@hookimpl
def dspex_caches() -> list[Spec]:
    """The backends; "default" is what the kernel asks for when nothing was configured."""
    return [
        Spec("memory", "dspex_cache.memory:MemoryCache", "Least recently used replies in this process"),
        Spec("sqlite", "dspex_cache.sqlite:SqliteCache", "A SQLite file that processes share"),
        Spec("tiered", "dspex_cache.tiered:TieredCache", "Memory over the SQLite file"),
        Spec("default", "dspex_cache.tiered:TieredCache", "The same as tiered"),
    ]


@hookimpl
def dspex_commands() -> list[Any]:
    """`dspex cache stats | prune | clear | export | import`."""
    from dspex_cache.commands import cache

    return [cache]
