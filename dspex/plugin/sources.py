"""Finds what is installed as a plugin, by entry points."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from dspex.plugin.spec import GROUP

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Source(msgspec.Struct, frozen=True):
    """An entry point: a name, what loads the plugin's module or object, and the distribution it came from."""

    name: str
    load: Callable[[], Any]
    distribution: str = ""
    version: str = ""


def installed() -> list[Source]:
    """The entry points of the group `dspex`, by name; one distribution found twice counts once."""
    # Late: importlib.metadata would cost every program 30 ms, also those that ask for no plugin.
    from dspex.core.distributions import declared

    return [
        Source(one.point.name, partial(_loaded, one.point), one.distribution, one.version) for one in declared(GROUP)
    ]


def _loaded(point: "EntryPoint") -> Any:
    if point.pattern.match(point.value) is None:
        raise ValueError(f"its entry point {point.value!r} is neither 'package.module' nor 'package.module:attribute'")
    return point.load()
