"""Finds plugins through entry points, loads each behind a fence, and picks the backend that a name means."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from dspex.core.errors import ConfigurationError, DspexError, PluginError
from dspex.core.nearest import did_you_mean
from dspex.plugin.catalog import BRIDGE, KIND_WORDS, bridge_hint, install_hint, offered
from dspex.plugin.fence import LOADING, Ground, fenced, fenced_each
from dspex.plugin.spec import API_VERSION, GROUP, Spec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

IMPORT_LIMIT_S = 5.0
BACKEND_LIMIT_S = 30.0  # what a factory's module imports may be heavy, and its disk cold
PREFIX = "dspex_"
ALL_USED = frozenset({"middleware", "subscribers", "secret_sources"})


class PluginRecord(msgspec.Struct, frozen=True):
    """What became of one installed plugin; `provides` maps a kind to the Specs (commands: the commands) it offers."""

    name: str
    distribution: str = ""
    version: str = ""
    status: Literal["ok", "broken", "blocked"] = "ok"
    error: str = ""
    seconds: float = 0.0
    provides: Mapping[str, tuple[Any, ...]] = {}


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


class PluginManager:
    """Plugins of one App, discovered at first need; nothing is imported before that.

    `blocked` and `only` limit loading by entry-point name (`DSPEX_PLUGINS`); `prefer` maps a backend's name to the
    plugin that serves it where two offer it (`DSPEX_PREFER="openai=acme"`).
    """

    def __init__(
        self,
        sources: Callable[[], Iterable[Source]] = installed,
        *,
        blocked: Iterable[str] = (),
        prefer: Mapping[str, str] | None = None,
        environ: Mapping[str, str] = os.environ,
        import_limit_s: float = IMPORT_LIMIT_S,
    ) -> None:
        self._sources = sources
        self._limit_s = import_limit_s
        names = [part.strip() for part in environ.get("DSPEX_PLUGINS", "").split(",") if part.strip()]
        self._only = {name for name in names if not name.startswith("no:")}
        self._blocked = {name[3:] for name in names if name.startswith("no:")} | set(blocked)
        pairs = (pair.split("=", 1) for pair in environ.get("DSPEX_PREFER", "").split(",") if "=" in pair)
        self.prefer: dict[str, str] = {name.strip(): plugin.strip() for name, plugin in pairs} | dict(prefer or {})
        self._records: tuple[PluginRecord, ...] | None = None
        self._commands: tuple[Mapping[str, list[tuple[PluginRecord, Any]]], Mapping[str, str]] | None = None
        self._made: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    @property
    def chosen(self) -> frozenset[str]:
        """The plugins that DSPEX_PLUGINS or -p speak of, installed or not."""
        return frozenset(self._only | self._blocked)

    @property
    def plugins(self) -> tuple[PluginRecord, ...]:
        """All installed plugins, with what each provides or why it does not.

        Raises ConfigurationError where a plugin asks while it is loaded itself.
        """
        if self._records is None:
            if LOADING.get():
                raise ConfigurationError(
                    "It asks dspex for a plugin while plugins are being loaded: import what it needs from the other "
                    "plugin's own package, or ask in the factory and not at import."
                )
            with self._lock:
                if self._records is None:
                    self._records = tuple(self._discover())
        return self._records

    def _discover(self) -> Iterable[PluginRecord]:
        ground, sources = Ground(), list(self._sources())
        loads = [Load(source, ground) for source in sources if not self._is_blocked(source.name)]
        outcomes = {
            id(load.source): load.record(error)
            for load, error in zip(loads, fenced_each(loads, self._limit_s), strict=True)
        }
        for source in sources:
            blocked = PluginRecord(source.name, source.distribution, source.version, "blocked")
            yield outcomes.get(id(source), blocked)

    def _is_blocked(self, name: str) -> bool:
        return name in self._blocked or bool(self._only and name not in self._only)

    def names(self, kind: str) -> list[str]:
        """All names offered for a kind, sorted."""
        if kind == "commands":
            return sorted(self.commands()[0])
        return sorted({spec.name for spec in self.specs(kind)})

    def specs(self, kind: str) -> list[Spec]:
        """All Specs of a kind, by name; for middleware and subscribers, which are all used."""
        found = [spec for record in self.plugins for spec in record.provides.get(kind, ())]
        return sorted(found, key=lambda spec: spec.name)

    def find(self, kind: str, name: str) -> Spec | None:
        """The Spec of that name, or None. Raises ConfigurationError if two plugins offer it and none is preferred."""
        every = ((record, spec) for record in self.plugins for spec in record.provides.get(kind, ()))
        found: Spec | None = self._chosen(kind, name, [offer for offer in every if offer[1].name == name])
        return found

    def command(self, name: str) -> Any | None:
        """The click command of that name, or None. Raises as `find`."""
        return self._chosen("commands", name, self.commands()[0].get(name, []))

    def _chosen(self, kind: str, name: str, offers: list[tuple[PluginRecord, Any]]) -> Any | None:
        wanted = self.prefer.get(name)
        offers = [offer for offer in offers if wanted in (offer[0].name, offer[0].distribution)] or offers
        if len(offers) > 1:
            who = " and ".join(f"{record.name!r} ({record.distribution})" for record, _ in offers)
            first = offers[0][0]
            # Two packages may have called their plugins the same.
            one = first.name if len({record.name for record, _ in offers}) == len(offers) else first.distribution
            raise ConfigurationError(
                f"The {KIND_WORDS[kind]} {name!r} is offered by {who}. Choose one: "
                f"dspex.configure(prefer={{{name!r}: {one!r}}}) or DSPEX_PREFER={name}={one}."
            )
        return offers[0][1] if offers else None

    def spec(self, kind: str, name: str, asked: str = "") -> Spec:
        """The Spec of that name. Raises ConfigurationError that says what is installed, broken, or to be installed."""
        found = self.find(kind, name)
        if found is None:
            raise ConfigurationError(self.unknown(kind, name, asked))
        return found

    def made(self, kind: str, name: str, asked: str = "", own: Iterable[str] = ()) -> Any:
        """The backend of that name, made without options and once. Raises as `spec`; `own` are the kernel's names."""
        if (kind, name) not in self._made:
            found = self.find(kind, name)
            if found is None:
                raise ConfigurationError(self.unknown(kind, name, asked, own))
            self._made[kind, name] = _made(found)
        return self._made[kind, name]

    def conflicts(self) -> list[str]:
        """Names that two plugins offer and none is preferred for, in the words of the error that their use raises."""
        found = []
        for kind in sorted(KIND_WORDS.keys() - ALL_USED):
            for name in self.names(kind):
                try:
                    self.command(name) if kind == "commands" else self.find(kind, name)
                except ConfigurationError as error:
                    found.append(str(error))
        return found

    def commands(self) -> tuple[Mapping[str, list[tuple[PluginRecord, Any]]], Mapping[str, str]]:
        """By name the plugins that offer a click command, with it, and by plugin why its commands are missing."""
        if self._commands is None:
            self._commands = self._collected()
        return self._commands

    def _collected(self) -> tuple[Mapping[str, list[tuple[PluginRecord, Any]]], Mapping[str, str]]:
        commands: dict[str, list[tuple[PluginRecord, Any]]] = {}
        broken: dict[str, str] = {}
        for record in self.plugins:
            for hook in record.provides.get("commands", ()):
                found: dict[str, Any] = {}
                error = fenced(partial(_collect_commands, hook, found), self._limit_s)
                if error:
                    broken[record.name] = error
                    continue
                for name, command in found.items():
                    commands.setdefault(name, []).append((record, command))
        return commands, broken

    def unknown(self, kind: str, name: str, asked: str = "", own: Iterable[str] = ()) -> str:
        """Why there is no such backend, in words; `own` are names that the kernel offers itself."""
        known = sorted({*own, *self.names(kind)})
        failed = {record.name: record.error for record in self.plugins if record.status == "broken"}
        if kind == "commands":
            failed.update(self.commands()[1])
        broken = [f"{plugin} ({error[:200]})" for plugin, error in list(failed.items())[:5]]
        blocked = [record.name for record in self.plugins if record.status == "blocked"]
        meant = did_you_mean(name, known).strip() or did_you_mean(name, offered(kind)).strip()
        parts = [
            f"No {KIND_WORDS[kind]} {name!r}{f', asked for by {asked}' if asked else ''}.",
            install_hint(kind, name) or meant or bridge_hint(kind, name, asked, is_installed=BRIDGE in known),
            f"Installed: {', '.join(known) or 'none'}.",
            f"Failed to load: {'; '.join(broken)} (see `dspex doctor`)." if broken else "",
            f"Blocked by DSPEX_PLUGINS or -p: {', '.join(blocked)}." if blocked else "",
        ]
        return " ".join(part for part in parts if part)


def _made(spec: Spec) -> Any:
    factory = spec.load()
    try:
        return factory({})
    except (DspexError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the factory is a plugin's
        message = f"{spec.name!r} could not be made: {type(error).__name__}: {error}"
        raise PluginError(message, plugin=spec.name) from error


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
    plugin = source.load()
    hooks.register(plugin, name=f"{source.name}@{source.distribution}")
    if specs := _Hooks(hookspecs, vars(hooks.hook)):
        hooks.add_hookspecs(cast("Any", specs))
    hooks.check_pending()
    into.update(dict(_call_hooks(hooks, plugin)))


class _Hooks:
    """The hooks that a plugin implements: pluggy looks closely at every name of what it is given, and it is given one for each plugin."""

    def __init__(self, module: Any, implemented: Iterable[str]) -> None:
        known = vars(module)
        vars(self).update({name: known[name] for name in implemented if name.startswith(PREFIX) and name in known})

    def __dir__(self) -> Iterable[str]:
        return vars(self)

    def __bool__(self) -> bool:
        return bool(vars(self))


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


def _collect_commands(hook: Callable[[], Any], into: dict[str, Any]) -> None:
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
