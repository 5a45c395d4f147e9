"""The plugins of an App: each loaded behind a fence, once, and the backend that a name means."""

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from dspex.core.errors import ConfigurationError, DspexError, PluginError
from dspex.core.nearest import did_you_mean
from dspex.plugin.catalog import BRIDGE, KIND_WORDS, bridge_hint, install_hint, offered
from dspex.plugin.fence import LOADING, Ground, fenced, fenced_each
from dspex.plugin.loading import Load, PluginRecord, collect_commands
from dspex.plugin.sources import Source, installed
from dspex.plugin.spec import Spec

IMPORT_LIMIT_S = 5.0
BACKEND_LIMIT_S = 30.0  # what a factory's module imports may be heavy, and its disk cold
ALL_USED = frozenset({"middleware", "subscribers", "secret_sources"})


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
                error = fenced(partial(collect_commands, hook, found), self._limit_s)
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
