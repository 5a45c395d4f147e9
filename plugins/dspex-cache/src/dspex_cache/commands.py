"""`dspex cache`: look at the cache file, make room, empty it, take it along."""

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import IO, TypeVar

import click
import msgspec

from dspex_cache.database import CacheUnavailable, Database
from dspex_cache.entry import Entry
from dspex_cache.options import CacheOptions, SystemClock, file_of

T = TypeVar("T")

DAY_S = 86_400.0
AT_A_TIME = 1000  # entries that are read in by one transaction


class Line(msgspec.Struct):
    """An entry in an exported file: the key in hexadecimal digits, the value in base64, times since the epoch."""

    key: str
    value: bytes
    stored: float
    expires: float | None = None


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
    if max_mb is not None and not isfinite(max_mb):
        raise click.BadParameter("a number of megabytes is finite.", param_hint="--max-mb")
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
    try:
        entries = f"{database.figures()['entries']:.0f}"
    except CacheUnavailable:
        entries = "all"  # of a damaged file nobody can say
    if not yes:
        click.confirm(f"Drop {entries} replies in {database.path}?", abort=True)
    _done(database.clear)
    click.echo(f"Dropped {entries} entries.")


@cache.command()
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.pass_obj
def export(database: Database, target: Path | None) -> None:
    """Write all entries as JSON lines, to TARGET or to the output, for `import`; what is in TARGET stays until all is written."""
    if not database.path.exists():
        raise click.ClickException(f"{database.path} does not exist: there is nothing to export.")
    if target is None:
        _done(lambda: _write(database, sys.stdout.buffer))
        return
    click.echo(f"Wrote {_done(lambda: _write_new(database, target))} entries to {target}.")


@cache.command("import")
@click.argument("source", type=click.File("rb"))
@click.pass_obj
def import_(database: Database, source: IO[bytes]) -> None:
    """Take in what `export` has written, from the file SOURCE, or from the input for `-`."""
    count, entries = 0, _entries(source)
    while some := dict(islice(entries, AT_A_TIME)):
        _done(lambda some=some: database.write(some))  # type: ignore[misc]  # a lambda that is called at once
        count += len(some)
    click.echo(f"Read {count} entries into {database.path}.")


def _write_new(database: Database, target: Path) -> int:
    # A new file, so that replies are never written through a link or into a file that others may read.
    made = target.with_name(f"{target.name}.{secrets.token_hex(4)}.new")
    try:
        with os.fdopen(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            count = _write(database, file)
        made.replace(target)
    except OSError as error:
        if isinstance(error, CacheUnavailable):
            raise
        raise click.ClickException(f"{target} cannot be written: {error.strerror or error}.") from error
    finally:
        if made.parent.is_dir():
            made.unlink(missing_ok=True)
    return count


def _write(database: Database, file: IO[bytes]) -> int:
    count = 0
    for count, (key, entry) in enumerate(database.rows(), 1):  # noqa: B007  the last count is the result
        line = Line(key.hex(), entry.value, entry.stored, entry.expires)
        file.write(msgspec.json.encode(line) + b"\n")
    return count


def _entries(source: IO[bytes]) -> Iterator[tuple[bytes, Entry]]:
    decoder = msgspec.json.Decoder(Line)
    for number, text in enumerate(source, 1):
        try:
            line = decoder.decode(text)
            yield bytes.fromhex(line.key), Entry(line.value, line.stored, line.expires)
        except (msgspec.DecodeError, ValueError) as error:
            raise click.ClickException(
                f"Line {number} of {source.name} is no entry of a cache: {error}. What stands before it may have been taken in."
            ) from error


def _done(work: Callable[[], T]) -> T:
    try:
        return work()
    except CacheUnavailable as error:
        raise click.ClickException(f"The cache cannot be used: {error}") from error
