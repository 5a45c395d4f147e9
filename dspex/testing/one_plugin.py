"""A plugin manager that knows one plugin, made in the test: for kits, which must see nothing that is installed beside it."""

from collections.abc import Callable
from typing import Any

from dspex.plugin.hookspecs import hookimpl
from dspex.plugin.manager import PREFIX, PluginManager
from dspex.plugin.sources import Source


def manager_of(name: str, **hooks: Callable[[], Any]) -> PluginManager:
    """A manager of one plugin with these hooks: `manager_of("acme", subscribers=lambda: [spec])`."""

    class Plugin:
        pass

    for kind, hook in hooks.items():
        setattr(Plugin, f"{PREFIX}{kind}", staticmethod(hookimpl(lambda hook=hook: hook())))
    return PluginManager(lambda: [Source(name, lambda: Plugin)], environ={})
