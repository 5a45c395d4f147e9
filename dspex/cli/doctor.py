"""`dspex doctor`: what is installed, what is broken, and what to do about it."""

import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from dspex.app.app import current_app
from dspex.app.keys import key_in, key_variables
from dspex.cli.plugins import rows
from dspex.core.clock import SystemClock
from dspex.core.errors import ConfigurationError
from dspex.plugin.catalog import PACKAGES, install_hint
from dspex.plugin.manager import IMPORT_LIMIT_S, PluginManager, fenced
from dspex.plugin.spec import Spec

DEPENDENCIES = ("aiohttp", "click", "msgspec", "platformdirs", "pluggy", "rich", "structlog", "tenacity")
SYSTEM_LIBRARIES = MappingProxyType({"libgomp.so": "libgomp1", "libstdc++.so": "libstdc++6"})
FINE, BROKEN = "", "PROBLEM: "

Finding = tuple[str, str]


@click.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Say what is installed, what is broken and what to do; exit with 1 if anything is broken."""
    click.echo(
        f"dspex {version_of('dspex')}, Python {platform.python_version()} ({sys.executable}), {platform.platform()}"
    )
    problems = 0
    for look in (packages, plugins, backends, cache, keys, folders):
        title = look.__name__
        for mark, text in look(current_app().plugins):
            click.echo(f"{title:<10}{mark}{text}")
            title, problems = "", problems + (mark == BROKEN)
    click.echo(f"Problems: {problems}" if problems else "Nothing is broken.")
    ctx.exit(1 if problems else 0)


def version_of(distribution: str) -> str:
    """An installed distribution's version, or "not installed"."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def packages(_manager: PluginManager) -> Iterator[Finding]:
    """Versions of what the kernel depends on."""
    found = ", ".join(f"{name} {version_of(name)}" for name in DEPENDENCIES)
    yield BROKEN if "not installed" in found else FINE, found


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
            advice = f"Update it, pip install -U {row.distribution}, or do without it, DSPEX_PLUGINS=no:{row.name}"
            yield BROKEN, f"{who} is broken. {row.error}. {advice}{_system_hint(row.error)}"
    for text in manager.conflicts():
        yield BROKEN, text


def backends(manager: PluginManager) -> Iterator[Finding]:
    """Whether what plugins declare can be loaded, and what it has to say itself (`notice` of a factory)."""
    kinds = sorted({kind for record in manager.plugins for kind in record.provides} - {"commands"})
    specs = [spec for kind in kinds for spec in manager.specs(kind)]
    yield FINE, f"{len(specs)} declared"
    for spec in specs:
        said: list[str] = []
        error = fenced(partial(_notice, spec, said), IMPORT_LIMIT_S)
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
    spec = manager.find("caches", "default")
    if spec is None:
        yield FINE, 'none: pip install "dspex-cache"'
    elif error := fenced(lambda: made.append(spec.load()({}, SystemClock())), IMPORT_LIMIT_S):
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

    cache_folder = Path(os.environ.get("DSPEX_CACHE_DIR") or platformdirs.user_cache_dir("dspex"))
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
