"""`dspex cache`: look at the cache file, make room, empty it, take it along."""

import base64
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import click
import msgspec

from dspex_cache.database import CacheUnavailable, Database
from dspex_cache.entry import Entry
from dspex_cache.options import CacheOptions, SystemClock, file_of

DAY_S = 86_400.0


@click.group()
@click.option("--path", help="The cache file; by default the one that dspex uses (DSPEX_CACHE_DIR).")
@click.pass_context
def cache(context: click.Context, path: str | None) -> None:
    """Look at the cache of model replies, make room, empty it, take it along."""
    options = CacheOptions(path=path)
    context.obj = Database(file_of(options), options.max_bytes, SystemClock())


@cache.command()
@click.pass_obj
def stats(database: Database) -> None:
    """Show where the cache lies, how many replies it holds, and their size."""
    click.echo(f"file     {database.path}")
    if not database.path.exists():
        click.echo("entries  0 (there is no file yet)")
        return
    figures = _done(database.figures)
    click.echo(f"entries  {figures['entries']:.0f}, of which {figures['expiring']:.0f} expire")
    click.echo(f"bytes    {figures['bytes']:,.0f} in use, {figures['file_bytes']:,.0f} on disk")
    if figures["entries"]:
        click.echo(f"oldest   {(time.time() - figures['oldest']) / DAY_S:.1f} days")


@cache.command()
@click.option("--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Also drop replies older than this.")
@click.option("--max-mb", type=click.FloatRange(min=0), help="Also drop the oldest until the rest fits.")
@click.pass_obj
def prune(database: Database, older_than: float | None, max_mb: float | None) -> None:
    """Drop what has expired, and give its space back."""
    if not database.path.exists():
        click.echo("Dropped 0 entries: there is no file yet.")
        return
    older_than_s = None if older_than is None else older_than * DAY_S
    max_bytes = None if max_mb is None else int(max_mb * 1e6)
    dropped = _done(lambda: database.prune(older_than_s, max_bytes))
    click.echo(f"Dropped {dropped} entries.")


@cache.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def clear(database: Database, yes: bool) -> None:
    """Drop all replies: every call is paid for again."""
    if not database.path.exists():
        click.echo("Nothing to clear: there is no file yet.")
        return
    entries = int(_done(database.figures)["entries"])
    if not yes:
        click.confirm(f"Drop {entries} replies in {database.path}?", abort=True)
    _done(database.clear)
    click.echo(f"Dropped {entries} entries.")


@cache.command()
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.pass_obj
def export(database: Database, target: Path | None) -> None:
    """Write all entries as JSON lines, to TARGET or to the output; values are base64, as they are bytes."""
    if not database.path.exists():
        raise click.ClickException(f"{database.path} does not exist: there is nothing to export.")
    if target is None:
        _done(lambda: _write(database, sys.stdout.buffer))
        return
    # A new file, so that replies are never written through a link or into a file that others may read.
    target.unlink(missing_ok=True)
    with os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        count = _done(lambda: _write(database, file))
    click.echo(f"Wrote {count} entries to {target}.")


def _write(database: Database, file: IO[bytes]) -> int:
    count = 0
    for count, (key, entry) in enumerate(database.rows(), 1):  # noqa: B007  the last count is the result
        file.write(msgspec.json.encode(_line(key, entry)) + b"\n")
    return count


def _line(key: bytes, entry: Entry) -> dict[str, Any]:
    value = base64.b64encode(entry.value).decode()
    return {"key": key.hex(), "value": value, "stored": entry.stored, "expires": entry.expires}


def _done(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except CacheUnavailable as error:
        raise click.ClickException(f"The cache cannot be used: {error}") from error
