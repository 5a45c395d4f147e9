"""A plugin manager that knows one plugin, made in the test: for kits, which must see nothing that is installed beside it."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeVar

import msgspec

from dspex.app.app import App
from dspex.core.endpoint import Endpoint
from dspex.core.secret import Secret
from dspex.plugin.contracts import HttpClient
from dspex.plugin.hookspecs import hookimpl
from dspex.plugin.loading import PREFIX
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source
from dspex.plugin.spec import Spec

T = TypeVar("T")

KEY = "sk-kit-canary-0123456789"


def manager_of(name: str, **hooks: Callable[[], Any]) -> PluginManager:
    """A manager of one plugin with these hooks: `manager_of("acme", subscribers=lambda: [spec])`."""

    class Plugin:
        pass

    for kind, hook in hooks.items():
        setattr(Plugin, f"{PREFIX}{kind}", staticmethod(hookimpl(lambda hook=hook: hook())))
    return PluginManager(lambda: [Source(name, lambda: Plugin)], environ={})


async def lived(
    plugins: PluginManager, make: Callable[[], T], work: Callable[[T], Awaitable[None]], limit_s: float
) -> list[str]:
    """Run `work(make())` in an App of its own; the tasks that were left when that had ended."""
    async with asyncio.timeout(limit_s):
        async with App(plugins=plugins):
            await work(make())
        await asyncio.sleep(0)
        return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def provider_of(
    spec: Spec, model: str, given: Mapping[str, Any], http: HttpClient | None = None, base_url: str | None = None
) -> Any:
    """A provider as the App makes it, with the key KEY and those keywords of a handle that are its options."""
    known = _fields(spec.options) if spec.options else ()
    options = {name: value for name, value in given.items() if name in known}
    return spec.load()(Endpoint(spec.name, model, base_url, Secret(KEY), {}, options), http)


@functools.cache  # a kit asks a thousand times
def _fields(options: type) -> Collection[str]:
    return {field.name for field in msgspec.structs.fields(options)}
