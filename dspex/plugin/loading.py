"""What one plugin declares when it is loaded."""

import time
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, Literal, cast

import msgspec

from dspex.plugin.fence import Ground
from dspex.plugin.sources import Source
from dspex.plugin.spec import API_VERSION, GROUP, Spec

PREFIX = "dspex_"
MARK = f"{GROUP}_impl"  # where pluggy's HookimplMarker leaves what it was given


class PluginRecord(msgspec.Struct, frozen=True):
    """What became of one installed plugin; `provides` maps a kind to the Specs (commands: the commands) it offers."""

    name: str
    distribution: str = ""
    version: str = ""
    status: Literal["ok", "broken", "blocked"] = "ok"
    error: str = ""
    seconds: float = 0.0
    provides: Mapping[str, tuple[Any, ...]] = {}


class Load:
    """The loading of one plugin: called in the thread of plugins, and told afterwards."""

    def __init__(self, source: Source, ground: Ground) -> None:
        self.source = source
        self._ground = ground
        self._provides: dict[str, tuple[Any, ...]] = {}
        self._began: float | None = None  # until it has ended
        self._changed = ""
        self._seconds = 0.0

    def __call__(self) -> None:
        """Load it, and undo what it changes of others. Raises what it raises."""
        self._ground.mend()  # one that hung may have come back since
        self._began = time.perf_counter()
        try:
            _declare(self.source, self._provides)
        finally:
            self._end()

    def _end(self) -> None:
        if self._began is not None:
            self._changed, self._seconds = self._ground.mend(), time.perf_counter() - self._began
            self._began = None

    def record(self, error: str) -> PluginRecord:
        """What became of it; `error` is what it raised, or that it took too long."""
        self._end()
        if self._changed:
            error = f"changes {self._changed} of another package, which was undone{f'; then {error}' if error else ''}"
        return PluginRecord(
            self.source.name,
            self.source.distribution,
            self.source.version,
            "broken" if error else "ok",
            error,
            self._seconds,
            {} if error else self._provides,
        )


def _declare(source: Source, into: dict[str, tuple[Any, ...]]) -> None:
    # A manager for each: what one plugin does to the hooks reaches no other, also when it comes back too late.
    import pluggy

    from dspex.plugin import hookspecs

    hooks = pluggy.PluginManager(GROUP)
    plugin = _marked(source.load())
    hooks.register(plugin, name=f"{source.name}@{source.distribution}")
    known, implemented = vars(hookspecs), vars(hooks.hook)
    specs = {name: known[name] for name in implemented if name.startswith(PREFIX) and name in known}
    if specs:
        hooks.add_hookspecs(cast("Any", _Names(specs)))
    hooks.check_pending()
    into.update(dict(_call_hooks(hooks, plugin)))


class _Names:
    """Some names of a module: pluggy looks closely at every name of what it is given, and it is given two for each plugin."""

    def __init__(self, names: Mapping[str, Any], title: str = "") -> None:
        self._title = title
        vars(self).update(names)

    def __dir__(self) -> Iterable[str]:
        return vars(self)

    def __repr__(self) -> str:
        return self._title  # pluggy's messages show it


def _marked(plugin: Any) -> Any:
    """What of a module is marked by `hookimpl`; a plugin of another kind as it is."""
    if not isinstance(plugin, ModuleType):
        return plugin
    names = {name: value for name, value in vars(plugin).items() if MARK in getattr(value, "__dict__", ())}
    return _Names(names, plugin.__name__)


def _call_hooks(hooks: Any, plugin: Any) -> Iterable[tuple[str, tuple[Any, ...]]]:
    for caller in hooks.get_hookcallers(plugin) or ():
        for implementation in caller.get_hookimpls():
            if implementation.wrapper or implementation.hookwrapper:
                raise TypeError(f"{caller.name} is a wrapper; a plugin declares what it has and wraps nobody")
            kind = caller.name.removeprefix(PREFIX)
            if kind == "commands":
                yield kind, (implementation.function,)  # called when a command line is built, as that imports click
            else:
                yield kind, _specs(caller.name, implementation.function())


def _specs(hook: str, result: Any) -> tuple[Spec, ...]:
    seen: set[str] = set()
    for item in _listed(hook, result):
        if wrong := _fault(item) or ("is offered twice" if item.name in seen else ""):
            shown = item.name if isinstance(item, Spec) else item
            raise TypeError(f"{hook} returned {shown!r:.60}, which {wrong}")
        seen.add(item.name)
    return tuple(result)


def _fault(item: Any) -> str:
    # The constructor of a Struct checks no types.
    if not isinstance(item, Spec):
        return "is no dspex.Spec"
    name, factory, options, api = item.name, item.factory, item.options, item.api
    if not isinstance(api, int):  # mypy holds it for one, as a Struct says so
        return f"has api={api!r}, which is no number"  # type: ignore[unreachable]
    if api != API_VERSION:
        behind = "dspex" if api > API_VERSION else "the plugin"
        return f"wants plugin API {api}; this dspex has {API_VERSION}: update {behind}"
    given: list[Any] = [name, factory, options]
    if not isinstance(given[0], str) or not name:
        return "has no name"
    if not isinstance(given[1], str) and not callable(factory):
        return "has a factory that is neither callable nor 'module:attribute'"
    is_struct = isinstance(given[2], type) and issubclass(given[2], msgspec.Struct)
    return "" if given[2] is None or is_struct else "has options that are no Struct type"


def collect_commands(hook: Callable[[], Any], into: dict[str, Any]) -> None:
    """The commands that a hook gives, by name. Raises what it raises, and TypeError for what is none."""
    import click

    commands = list(_listed("dspex_commands", hook()))
    for item in commands:
        if not isinstance(item, click.Command) or not item.name:
            raise TypeError(f"dspex_commands returned {item!r:.60}, which is no click command with a name")
    into.update({command.name: command for command in commands})


def _listed(hook: str, result: Any) -> Iterable[Any]:
    if hasattr(result, "close") and hasattr(result, "send"):
        result.close()
        raise TypeError(f"{hook} is a coroutine or generator; hooks are plain functions that return a list")
    if not isinstance(result, (list, tuple)):
        raise TypeError(f"{hook} returned {type(result).__name__}, not a list")
    return result
