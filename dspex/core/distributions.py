"""What installed distributions declare under a group of entry points, read again only where a folder of the path has changed."""

import importlib.metadata
import re
import sys
import warnings
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import NamedTuple


class Declared(NamedTuple):
    """An entry point, with the name and the version of its distribution; both "" where its metadata are no text."""

    point: EntryPoint
    distribution: str
    version: str


def declared(group: str) -> tuple[Declared, ...]:
    """The entry points of a group, by name; of a distribution that is found twice those of the first, whose code is imported.

    Warns of a distribution whose entry points cannot be read.
    """
    return _declared(group, tuple((folder, _state_of(folder)) for folder in sys.path), tuple(map(id, sys.meta_path)))


def _state_of(folder: str) -> tuple[int, int, int] | None:
    """What changes when something is installed there or taken away; importlib.metadata goes by the time, too."""
    try:
        found = Path(folder).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


@lru_cache(maxsize=4)
def _declared(group: str, _path: object, _finders: object) -> tuple[Declared, ...]:
    """`importlib.metadata.entry_points` would parse those of all distributions, and all of the metadata for a version."""
    found: dict[tuple[str, str, str], Declared] = {}
    known = set()
    for dist in importlib.metadata.distributions():
        text = _text_of(dist)
        if f"[{group}]" not in text:
            continue
        name, version = named(dist)
        if name in known:
            continue
        known.update({name} - {""})
        for point in _points(text, group, name):
            found[point.name, name, point.value] = Declared(point, name, version)
    return tuple(found[key] for key in sorted(found))


def _text_of(dist: Distribution) -> str:
    try:
        return _read(dist, "entry_points.txt")
    except ValueError as error:
        _warn(named(dist)[0], error)
        return ""


def _read(dist: Distribution, name: str) -> str:
    """A file of the metadata, "" where there is none. Raises ValueError for what is no text."""
    place = getattr(dist, "_path", None)
    if not isinstance(place, Path):  # in a zip, or of a finder of somebody's own
        return dist.read_text(name) or ""
    try:
        with open(f"{place}/{name}", "rb", buffering=0) as file:  # noqa: PTH123  there are hundreds; by pathlib each takes twice the time
            return file.read().decode()
    except OSError:
        return ""


def _points(text: str, group: str, name: str) -> list[EntryPoint]:
    try:
        return list(_parsed(text, group))
    except ValueError as error:
        _warn(name, error)
        return []


def _parsed(text: str, group: str) -> Iterator[EntryPoint]:
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif section == group and line and not line.startswith("#"):
            name, equals, value = (part.strip() for part in line.partition("="))
            if not equals:
                raise ValueError(f"{line!r} is not `name = value`")
            yield EntryPoint(name, value, group)


def _warn(name: str, error: ValueError) -> None:
    # One distribution's damage hides the entry points of no other.
    message = f"The entry points of {name or 'a package without a name'} cannot be read: {error!r}"
    warnings.warn(message, RuntimeWarning, stacklevel=6)


def named(dist: Distribution) -> tuple[str, str]:
    """A distribution's name and version. Its own properties parse all of the metadata, the readme too, once for each."""
    try:
        head = (_read(dist, "METADATA") or _read(dist, "PKG-INFO")).partition("\n\n")[0]
    except ValueError:  # it is no text, which is no reason to leave out the plugin
        return "", ""
    name, version = (re.search(rf"^{word}:[ \t]*(.+?)[ \t\r]*$", head, re.MULTILINE) for word in ("Name", "Version"))
    return (name[1], version[1]) if name and version else (dist.name or "", dist.version or "")
