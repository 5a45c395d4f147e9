"""Finds what is installed as a plugin, by entry points."""

import re
import sys
import warnings
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dspex.plugin.spec import GROUP

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint


class Source(msgspec.Struct, frozen=True):
    """An entry point: a name, what loads the plugin's module or object, and the distribution it came from."""

    name: str
    load: Callable[[], Any]
    distribution: str = ""
    version: str = ""


def installed() -> list[Source]:
    """The entry points of the group `dspex`, by name; one distribution found twice counts once."""
    # Late: it would cost every program 30 ms, also those that ask for no plugin.
    import importlib.metadata

    try:
        return list(_remembered(tuple(map(_folder, sys.path)), tuple(sys.meta_path)))
    except Exception:  # noqa: BLE001  one distribution's damaged metadata hides the entry points of all
        return _sources(point for dist in importlib.metadata.distributions() for point in _points(dist))


@lru_cache(maxsize=1)
def _remembered(_folders: tuple[Any, ...], _finders: tuple[Any, ...]) -> tuple[Source, ...]:
    """What these folders and finders hold: to read it again takes most of what a further App takes to begin."""
    import importlib.metadata

    return tuple(_sources(importlib.metadata.entry_points(group=GROUP)))


def _folder(entry: str) -> tuple[str, int, int, int] | tuple[str]:
    """An entry of sys.path and what changes when a package is installed there or taken away."""
    try:
        now = Path(entry).stat()
    except (OSError, ValueError):
        return (entry,)
    return entry, now.st_dev, now.st_ino, now.st_mtime_ns


def _sources(points: Iterable["EntryPoint"]) -> list[Source]:
    found = {}
    for point in points:
        name, version = _named(point.dist) if point.dist else ("", "")
        found[point.name, name or "", point.value] = Source(
            point.name, partial(_loaded, point), name or "", version or ""
        )
    return [found[key] for key in sorted(found)]


def _loaded(point: "EntryPoint") -> Any:
    if point.pattern.match(point.value) is None:
        raise ValueError(f"its entry point {point.value!r} is neither 'package.module' nor 'package.module:attribute'")
    return point.load()


def _named(dist: "Distribution") -> tuple[str, str]:
    """A distribution's name and version. Its own properties parse all of the metadata, the readme too, once for each."""
    try:
        head = (dist.read_text("METADATA") or dist.read_text("PKG-INFO") or "").partition("\n\n")[0]
    except ValueError:  # it is no text, which is no reason to leave out the plugin
        return "", ""
    name, version = (re.search(rf"^{word}:[ \t]*(.+?)[ \t\r]*$", head, re.MULTILINE) for word in ("Name", "Version"))
    return (name[1], version[1]) if name and version else (dist.name, dist.version)


def _points(dist: "Distribution") -> Iterable["EntryPoint"]:
    try:
        return dist.entry_points.select(group=GROUP)
    except Exception as error:  # noqa: BLE001  as above; a file that nobody can read declares nothing
        name = _named(dist)[0] or "a package without a name"
        warnings.warn(f"The entry points of {name} cannot be read: {error!r}", RuntimeWarning, stacklevel=5)
        return ()
