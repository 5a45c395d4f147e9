"""`dspex plugins`: what is installed, what each provides, or why it does not."""

import sys
from collections.abc import Iterable
from contextlib import redirect_stdout

import click
import msgspec

from dspex.app.app import current_app
from dspex.cli.check import check
from dspex.plugin.catalog import KIND_WORDS
from dspex.plugin.manager import PluginManager

WIDTH = 200  # where nobody looks at a terminal, no line is broken


class Row(msgspec.Struct, frozen=True):
    """One plugin; `provides` has names by kind, `load_ms` is the time of its import and its hooks."""

    name: str
    distribution: str
    version: str
    status: str
    provides: dict[str, list[str]]
    load_ms: float
    error: str


def rows(manager: PluginManager) -> list[Row]:
    """All installed plugins; one whose commands cannot be had is broken too."""
    with redirect_stdout(sys.stderr):  # what a plugin prints when it is imported is no part of what is shown
        commands, failed = manager.commands()
    found = []
    for one in manager.plugins:
        provides = {kind: [spec.name for spec in specs] for kind, specs in one.provides.items() if kind != "commands"}
        provides["commands"] = [name for name, offers in commands.items() if any(plugin is one for plugin, _ in offers)]
        provides = {kind: names for kind, names in provides.items() if names}
        error = one.error or failed.get(one.name, "")
        status = "broken" if error else one.status
        found.append(
            Row(one.name, one.distribution, one.version, status, provides, round(one.seconds * 1000, 1), error)
        )
    return found


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def plugins(ctx: click.Context, as_json: bool) -> None:
    """List the installed plugins and what each provides.

    `dspex plugins check NAME` looks closely at one.
    """
    if ctx.invoked_subcommand is not None:
        return
    found = rows(current_app().plugins)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    elif not found:
        click.echo('No plugin is installed. To begin with: pip install "dspex[demo]", then `dspex demo`.')
    else:
        _show(found)


plugins.add_command(check)


def _show(found: Iterable[Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("plugin", "distribution", "version", "status", "provides", "load", box=None, pad_edge=False)
    for row in found:
        provides = "; ".join(f"{KIND_WORDS[kind]} {', '.join(names)}" for kind, names in row.provides.items())
        cells = (row.name, row.distribution, row.version, row.status, provides, f"{row.load_ms:.0f} ms")
        table.add_row(*map(Text, cells))
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
    for row in found:
        if row.error:
            click.echo(f"{row.name}: {row.error}")
