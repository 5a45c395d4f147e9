"""Finds plugins through entry points, loads each behind a fence, and picks the backend that a name means."""

import difflib
import importlib.metadata
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec
import pluggy

from dspex.core.errors import ConfigurationError
from dspex.plugin import hookspecs
from dspex.plugin.catalog import KIND_WORDS, install_hint
from dspex.plugin.spec import API_VERSION, Spec

IMPORT_LIMIT_S = 5.0
PREFIX = "dspex_"


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
    found = {}
    for point in importlib.metadata.entry_points(group=hookspecs.GROUP):
        name = point.dist.name if point.dist else ""
        found[point.name, name, point.value] = Source(point.name, point.load, name, point.dist.version if point.dist else "")
    return [found[key] for key in sorted(found)]


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
    ) -> None:
        self._sources = sources
        names = [part.strip() for part in environ.get("DSPEX_PLUGINS", "").split(",") if part.strip()]
        self._only = {name for name in names if not name.startswith("no:")}
        self._blocked = {name[3:] for name in names if name.startswith("no:")} | set(blocked)
        pairs = (pair.split("=", 1) for pair in environ.get("DSPEX_PREFER", "").split(",") if "=" in pair)
        self.prefer: dict[str, str] = {name.strip(): plugin.strip() for name, plugin in pairs} | dict(prefer or {})
        self._records: tuple[PluginRecord, ...] | None = None
        self._lock = threading.Lock()

    @property
    def plugins(self) -> tuple[PluginRecord, ...]:
        """All installed plugins, with what each provides or why it does not."""
        if self._records is None:
            with self._lock:
                if self._records is None:
                    self._records = tuple(self._discover())
        return self._records

    def _discover(self) -> Iterable[PluginRecord]:
        hooks = pluggy.PluginManager(hookspecs.GROUP)
        hooks.add_hookspecs(hookspecs)
        for source in self._sources():
            if source.name in self._blocked or (self._only and source.name not in self._only):
                yield PluginRecord(source.name, source.distribution, source.version, "blocked")
            else:
                yield _load(hooks, source)

    def names(self, kind: str) -> list[str]:
        """All names offered for a kind, sorted."""
        return sorted({spec.name for record in self.plugins for spec in record.provides.get(kind, ())})

    def specs(self, kind: str) -> list[Spec]:
        """All Specs of a kind, by name; for middleware and subscribers, which are all used."""
        found = [spec for record in self.plugins for spec in record.provides.get(kind, ())]
        return sorted(found, key=lambda spec: spec.name)

    def find(self, kind: str, name: str) -> Spec | None:
        """The Spec of that name, or None. Raises ConfigurationError if two plugins offer it and none is preferred."""
        offers = [(record, spec) for record in self.plugins for spec in record.provides.get(kind, ()) if spec.name == name]
        if len(offers) > 1 and name in self.prefer:
            offers = [(record, spec) for record, spec in offers if self.prefer[name] in (record.name, record.distribution)]
        if len(offers) > 1:
            who = " and ".join(f"{record.name!r} ({record.distribution})" for record, _ in offers)
            raise ConfigurationError(
                f"The {KIND_WORDS[kind]} {name!r} is offered by {who}. Choose one: "
                f"dspex.configure(prefer={{{name!r}: {offers[0][0].name!r}}}) or DSPEX_PREFER={name}={offers[0][0].name}."
            )
        return offers[0][1] if offers else None

    def spec(self, kind: str, name: str, asked: str = "") -> Spec:
        """The Spec of that name. Raises ConfigurationError that says what is installed, broken, or to be installed."""
        found = self.find(kind, name)
        if found is None:
            raise ConfigurationError(self.unknown(kind, name, asked))
        return found

    def commands(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The click commands of all plugins by name, and by plugin why its commands are missing."""
        commands: dict[str, Any] = {}
        broken: dict[str, str] = {}
        for record in self.plugins:
            for hook in record.provides.get("commands", ()):
                found: list[Any] = []
                error = _fenced(lambda: found.extend(_checked("dspex_commands", "commands", hook())))
                if error:
                    broken[record.name] = error
                commands.update({command.name: command for command in found})
        return commands, broken

    def unknown(self, kind: str, name: str, asked: str = "") -> str:
        """Why there is no such backend, in words."""
        known = self.names(kind)
        near = difflib.get_close_matches(name, known, 1)
        broken = [f"{r.name} ({r.error})" for r in self.plugins if r.status == "broken"]
        blocked = [record.name for record in self.plugins if record.status == "blocked"]
        parts = [
            f"No {KIND_WORDS[kind]} {name!r}{f', asked for by {asked}' if asked else ''}.",
            f"Did you mean {near[0]!r}?" if near else "",
            install_hint(kind, name),
            f"Installed: {', '.join(known) or 'none'}.",
            f"Failed to load: {'; '.join(broken)} (see `dspex doctor`)." if broken else "",
            f"Blocked by DSPEX_PLUGINS or -p: {', '.join(blocked)}." if blocked else "",
        ]
        return " ".join(part for part in parts if part)


def _load(hooks: pluggy.PluginManager, source: Source) -> PluginRecord:
    began = time.perf_counter()
    provides: dict[str, tuple[Any, ...]] = {}
    error = _fenced(lambda: provides.update(_declared(hooks, source)))
    return PluginRecord(
        source.name,
        source.distribution,
        source.version,
        "broken" if error else "ok",
        error,
        time.perf_counter() - began,
        {} if error else provides,
    )


def _fenced(work: Callable[[], None]) -> str:
    """Run plugin code in a thread for a bounded time; what goes wrong comes back as text."""
    outcome: list[str] = []

    def run() -> None:
        try:
            work()
            outcome.append("")
        except BaseException as error:  # a plugin may even raise SystemExit at import; it must harm nobody else
            outcome.append(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)

    thread = threading.Thread(target=run, name="dspex-plugin-load", daemon=True)
    thread.start()
    thread.join(IMPORT_LIMIT_S)
    return outcome[0] if outcome else f"did not load within {IMPORT_LIMIT_S:g} s"


def _declared(hooks: pluggy.PluginManager, source: Source) -> dict[str, tuple[Any, ...]]:
    plugin = source.load()
    hooks.register(plugin, name=f"{source.name}@{source.distribution}")
    try:
        hooks.check_pending()
        return dict(_call_hooks(hooks, plugin))
    except BaseException:
        hooks.unregister(plugin)
        raise


def _call_hooks(hooks: pluggy.PluginManager, plugin: Any) -> Iterable[tuple[str, tuple[Any, ...]]]:
    # One by one and not through the hook: there one raising plugin loses the results of all.
    for caller in hooks.get_hookcallers(plugin) or ():
        for implementation in caller.get_hookimpls():
            if implementation.plugin is not plugin:
                continue
            if implementation.wrapper or implementation.hookwrapper:
                raise TypeError(f"{caller.name} is a wrapper; a plugin declares what it has and wraps nobody")
            kind = caller.name.removeprefix(PREFIX)
            if kind == "commands":
                # Called only when a command line is built, as it imports click.
                yield kind, (implementation.function,)
                continue
            yield kind, _checked(caller.name, kind, implementation.function())


def _checked(hook: str, kind: str, result: Any) -> tuple[Any, ...]:
    if hasattr(result, "close") and hasattr(result, "send"):
        result.close()
        raise TypeError(f"{hook} is a coroutine or generator; hooks are plain functions that return a list")
    if not isinstance(result, (list, tuple)):
        raise TypeError(f"{hook} returned {type(result).__name__}, not a list")
    for item in result:
        if kind == "commands":
            if not getattr(item, "name", None) or not callable(item):
                raise TypeError(f"{hook} returned {item!r}, which is no click command")
        elif not isinstance(item, Spec):
            raise TypeError(f"{hook} returned {item!r}, which is no dspex.Spec")
        elif item.api != API_VERSION:
            raise TypeError(f"{item.name!r} wants plugin API {item.api}; this dspex has {API_VERSION}")
    return tuple(result)
