"""`dspex doctor`: what is installed, what is broken, and what to do about it."""

import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from dspex.app.app import current_app
from dspex.app.keys import key_in, key_variables
from dspex.cli.own import own_names
from dspex.cli.plugins import rows
from dspex.core.clock import SystemClock
from dspex.core.errors import ConfigurationError
from dspex.core.nearest import did_you_mean
from dspex.plugin.catalog import PACKAGES, install_hint
from dspex.plugin.fence import fenced
from dspex.plugin.manager import BACKEND_LIMIT_S, PluginManager
from dspex.plugin.spec import Spec

DEPENDENCIES = ("aiohttp", "click", "msgspec", "platformdirs", "pluggy", "rich", "structlog", "tenacity")
SYSTEM_LIBRARIES = MappingProxyType({"libgomp.so": "libgomp1", "libstdc++.so": "libstdc++6"})
FINE, BROKEN = "", "PROBLEM: "
ABSENT = "not installed"
NAMELESS = "Its package has no name, as if half of it were left: take its .dist-info folder away, or install it anew"

SLOW_MS = 100.0

Finding = tuple[str, str]
Look = Callable[[PluginManager], Iterator[Finding]]


@click.command()
@click.option(
    "--reach", is_flag=True, help="Also see whether the endpoints of installed providers answer; no model is asked."
)
@click.option("--url", "urls", multiple=True, metavar="URL", help="And whether this address does.")
@click.pass_context
def doctor(ctx: click.Context, reach: bool, urls: Sequence[str]) -> None:
    """Say what is installed, what is broken and what to do.

    Exit code 1 if anything is broken.
    """
    click.echo(
        f"dspex {version_of('dspex')}, Python {platform.python_version()} ({sys.executable}), {platform.platform()}"
    )
    problems = 0
    looks: list[Look] = [packages, plugins, needs, backends, cache, keys, folders]
    looks += [partial(endpoints, urls=urls, installed=reach)] if reach or urls else []
    for look in looks:
        title = getattr(look, "func", look).__name__
        for mark, text in _looked(look, current_app().plugins):
            click.echo(f"{title:<10}{mark}{text}")
            title, problems = "", problems + (mark == BROKEN)
    click.echo(f"Problems: {problems}" if problems else "Nothing is broken.")
    ctx.exit(1 if problems else 0)


def _looked(look: Look, manager: PluginManager) -> Iterator[Finding]:
    """What a look finds; where it fails, that is a finding, and the next look is taken all the same."""
    try:
        yield from look(manager)
    except Exception as error:  # noqa: BLE001  what is looked at may be broken in any way, which is what a doctor is for
        yield BROKEN, f"cannot be looked at. {type(error).__name__}: {error}"


def version_of(distribution: str) -> str:
    """An installed distribution's version, or "not installed"."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT


def packages(_manager: PluginManager) -> Iterator[Finding]:
    """Versions of what the kernel depends on."""
    found = ", ".join(f"{name} {version_of(name)}" for name in DEPENDENCIES)
    yield BROKEN if ABSENT in found else FINE, found


def plugins(manager: PluginManager) -> Iterator[Finding]:
    """Which plugins work, are broken or blocked, and which names two of them offer."""
    found = rows(manager)
    works = [f"{row.name} ({row.distribution} {row.version})" for row in found if row.status == "ok"]
    yield FINE, ", ".join(works) or 'none: pip install "dspex[demo]" brings what the demo needs'
    for row in found:
        who = f"{row.name} ({row.distribution or 'unknown'} {row.version})"
        if row.status == "blocked":
            yield FINE, f"{who} is blocked by DSPEX_PLUGINS or -p"
        elif row.status == "broken":
            update = f"Update it, pip install -U {row.distribution}" if row.distribution else NAMELESS
            advice = f"{update}, or do without it, DSPEX_PLUGINS=no:{row.name}"
            yield BROKEN, f"{who} is broken. {row.error.rstrip('.')}. {advice}{_system_hint(row.error)}"
        elif row.load_ms > SLOW_MS:
            yield (
                FINE,
                f"{who} is slow: {row.load_ms:.0f} ms to import, which every program pays that asks for a plugin",
            )
    names = [row.name for row in found]
    for name in sorted(manager.chosen.difference(names, ["none"])):
        yield (
            FINE,
            f"DSPEX_PLUGINS or -p names {name!r}, and no installed plugin is called so.{did_you_mean(name, names)}",
        )
    for text in manager.conflicts():
        yield BROKEN, text
    yield from (
        (BROKEN, f"{name!r} of {record.name} ({record.distribution}) cannot be had: dspex has its own of that name")
        for record in manager.plugins
        for kind in record.provides
        for name in own_names(manager, record, kind)
    )


def needs(manager: PluginManager) -> Iterator[Finding]:
    """Which packages are older than what a plugin says it needs, or absent."""
    names = sorted({record.distribution for record in manager.plugins if record.distribution})
    short = [
        f"{name} needs {what}{line}, and {'it' if have == ABSENT else have} is {'not ' * (have == ABSENT)}installed: pip install -U {what}"
        for name in names
        for what, line in _lower_bounds(name)
        if _release(have := version_of(what)) < _release(line)
    ]
    yield FINE, f"of {len(names)} packages are met" if not short else f"of {len(names)} packages are looked at"
    yield from ((BROKEN, text) for text in short)


def _lower_bounds(distribution: str) -> list[tuple[str, str]]:
    try:
        lines = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    plain = [re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*\(?(>=\s*[\d.]+)", line) for line in lines if ";" not in line]
    return [(found[1], found[2]) for found in plain if found]


def _release(version: str) -> list[int]:
    """The numbers of a version, by which one is older; none for what is not installed."""
    return [int(part) for part in re.findall(r"\d+", (re.search(r"\d+(?:\.\d+)*", version) or [""])[0])]


def endpoints(manager: PluginManager, urls: Sequence[str], installed: bool) -> Iterator[Finding]:
    """Which endpoints answer."""
    from dspex.cli.reach import addresses, reached

    found = list(addresses(manager, urls)) if installed else [("--url", url) for url in urls]
    if not found:
        yield FINE, "none: no installed provider has an address of its own; name yours by --url"
    for (name, url), why in zip(found, reached(url for _, url in found), strict=True):
        yield (BROKEN, f"{name} at {url} cannot be reached. {why}") if why else (FINE, f"{name} at {url} answers")


def backends(manager: PluginManager) -> Iterator[Finding]:
    """Whether what plugins declare can be loaded, and what it has to say itself (`notice` of a factory)."""
    kinds = sorted({kind for record in manager.plugins for kind in record.provides} - {"commands"})
    specs = [spec for kind in kinds for spec in manager.specs(kind)]
    yield FINE, f"{len(specs)} declared"
    for spec in specs:
        said: list[str] = []
        error = fenced(partial(_notice, spec, said), BACKEND_LIMIT_S)
        if error:
            yield BROKEN, f"{spec.name} cannot be used. {error}{_system_hint(error)}"
        for text in said:
            yield FINE, f"{spec.name}: {text}"


def _notice(spec: Spec, into: list[str]) -> None:
    notice: Any = getattr(spec.load(), "notice", None)
    text = notice() if callable(notice) else notice
    if isinstance(text, str) and text:
        into.append(" ".join(text.split()))


def cache(manager: PluginManager) -> Iterator[Finding]:
    """Which cache calls use, and where it lies."""
    made: list[Any] = []
    try:
        spec = manager.find("caches", "default")
    except ConfigurationError as choice:
        yield BROKEN, str(choice)
        return
    if spec is None:
        yield FINE, 'none: pip install "dspex-cache"'
    elif error := fenced(lambda: made.append(spec.load()({}, SystemClock())), BACKEND_LIMIT_S):
        yield BROKEN, f"cannot be made. {error}"
    else:
        where = getattr(made[0], "path", None)
        yield FINE, f"{type(made[0]).__name__}{f' in {where}' if where else ''}"


def keys(manager: PluginManager) -> Iterator[Finding]:
    """Which providers have a key in the environment, or in a file that it names; the key is never shown."""
    installed = {*manager.names("lm_providers"), *manager.names("embedders")}
    known = installed | {name for kind, name in PACKAGES if kind == "lm_providers"}
    present = [(name, form) for name in sorted(known) for form in key_variables(name) if form in os.environ]
    if not present:
        yield FINE, "none in the environment"
    for name, variable in present:
        hint = "" if name in installed else f", whose plugin is not installed. {install_hint('lm_providers', name)}"
        try:
            key_in(variable)
            yield FINE, f"{variable} for {name}{hint}"
        except ConfigurationError as error:
            yield BROKEN, str(error)


def folders(_manager: PluginManager) -> Iterator[Finding]:
    """Where caches and runs lie, and whether they can be written."""
    import platformdirs

    from dspex.engine.opening import runs_folder

    cache_folder = Path(os.environ.get("DSPEX_CACHE_DIR") or platformdirs.user_cache_dir("dspex")).expanduser()
    for what, variable, folder in (
        ("cache", "DSPEX_CACHE_DIR", cache_folder),
        ("runs", "DSPEX_RUNS_DIR", runs_folder()),
    ):
        nearest = next(path for path in (folder, *folder.parents, Path()) if path.exists())
        if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
            yield FINE, f"{what} in {folder}"
        else:
            yield BROKEN, f"{what} in {folder}, which cannot be written: change its rights, or set {variable}"


def _system_hint(error: str) -> str:
    library = re.search(r"lib[\w+-]+\.so", error)
    package = SYSTEM_LIBRARIES.get(library[0]) if library else None
    return f". On Debian and Ubuntu: apt-get install {package}" if package and "apt-get" not in error else ""
