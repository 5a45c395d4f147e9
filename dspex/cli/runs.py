"""`dspex runs`: the runs of optimizers on this machine, whichever process began them."""

import asyncio
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from dspex.cli.run_texts import details, line_of, shown_comparison
from dspex.core.errors import ConfigurationError, JournalError
from dspex.engine.attached import AttachedJob
from dspex.engine.opening import runs_folder
from dspex.engine.progress import Progress, ProgressLine
from dspex.evaluate.report import ProgressBar
from dspex.runtime.journal import FILE, owner_of, repair

WIDTH = 200  # where nobody looks at a terminal, no line is broken
RUN = click.argument("run")


class Row(msgspec.Struct, frozen=True):
    """A run in the list; `fault` says why it cannot be read."""

    name: str
    optimizer: str = ""
    status: str = "broken"
    best: float | None = None
    verdict: str = ""
    calls: int = 0
    tokens: int = 0
    usd: float = 0.0
    began: str = ""
    fault: str = ""


@click.group()
def runs() -> None:
    """See, steer and tidy up the runs of optimizers.

    RUN is a folder's path, or the beginning of its name below DSPEX_RUNS_DIR.
    """


@runs.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_runs(as_json: bool) -> None:
    """List the runs, newest first.

    One that cannot be read is listed with its fault.
    """
    found = sorted(map(_row, _folders()), key=lambda row: (row.began, row.name), reverse=True)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    elif not found:
        click.echo(f"There are no runs in {runs_folder()}.")
    else:
        _table(found)


@runs.command()
@RUN
def show(run: str) -> None:
    """Tell all of one run.

    What it is of, how far it is, what it has cost, what it can claim.
    """
    job = AttachedJob(_folder(run))
    for line in details(job):
        click.echo(line)


@runs.command()
@RUN
def watch(run: str) -> None:
    """Follow a run until it ends; Ctrl-C ends the watching alone."""
    job = AttachedJob(_folder(run))
    last = asyncio.run(_watched(job))
    click.echo(line_of(job, last))


@runs.command()
@RUN
def pause(run: str) -> None:
    """Let a run start no further step."""
    _told(run, "pause", AttachedJob.pause)


@runs.command()
@RUN
def resume(run: str) -> None:
    """Let a paused run go on.

    For one that nobody runs, say how to go on with it.
    """
    job = AttachedJob(_folder(run))
    if job.owner:
        job.resume()
        click.echo(f"{job.owner} goes on with it.")
        return
    status = job.status
    if status == "done":
        click.echo(
            "It is done. Running the same compile with its run_dir again gives its program and pays for nothing."
        )
        return
    script = job.run.script or "the program that began it, which was no file"
    raise JournalError(
        f"No process runs {job.run_dir}; it is {status}. Its journal has all finished calls, but neither your program nor "
        f"your data and metric: run {script} again, with compile(..., run_dir={str(job.run_dir)!r})."
    )


@runs.command()
@RUN
def cancel(run: str) -> None:
    """End a run with the best program so far."""
    _told(run, "cancel", AttachedJob.cancel)


@runs.command()
@click.argument("first")
@click.argument("second")
def compare(first: str, second: str) -> None:
    """Set two runs side by side.

    Their programs too, on the examples that both were run on.
    """
    for line in shown_comparison(AttachedJob(_folder(first)), AttachedJob(_folder(second))):
        click.echo(line)


@runs.command("repair")
@RUN
@click.argument("target", type=click.Path(path_type=Path))
def repair_run(run: str, target: Path) -> None:
    """Copy what is whole of a damaged run.

    All up to its first damaged line goes to the folder TARGET.
    """
    kept, lost = repair(_folder(run), target)
    click.echo(f"{kept} lines are in {target}; {lost:,} bytes were left out. Go on with run_dir={str(target)!r}.")


@runs.command()
@click.argument("which", metavar="RUN...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(which: Sequence[str], yes: bool) -> None:
    """Delete runs that nobody runs.

    All that was paid for in them goes too.
    """
    folders = [_folder(one) for one in which]
    for folder in folders:
        if owner := owner_of(folder):
            raise JournalError(f"{folder} is in use by {owner}. Cancel it first.")
        if folder.is_symlink():
            raise ConfigurationError(f"{folder} is a link; delete what it leads to under its own name.")
    if not yes:
        click.confirm(f"Delete {', '.join(map(str, folders))}?", abort=True)
    for folder in folders:
        shutil.rmtree(folder)
        click.echo(f"{folder} is deleted.")


def _folders() -> list[Path]:
    root = runs_folder()
    return [path for path in root.iterdir() if (path / FILE).exists()] if root.is_dir() else []


def _folder(named: str) -> Path:
    """The run folder of that path, name or beginning of a name. Raises ConfigurationError."""
    path = Path(named)
    if (path / FILE).exists():
        return path
    found = [folder for folder in _folders() if folder.name.startswith(named)]
    exact = [folder for folder in found if folder.name == named]
    if len(exact or found) != 1:
        names = ", ".join(sorted(folder.name for folder in found)) or f"none of those in {runs_folder()}"
        raise ConfigurationError(f"{named!r} names no single run: it is {names}. `dspex runs list` shows them.")
    return (exact or found)[0]


def _row(folder: Path) -> Row:
    try:
        job = AttachedJob(folder, brief=True)
        progress, evidence = job.progress, job.evidence
    except JournalError as error:
        return Row(folder.name, fault=str(error))
    spent, run = progress.spent, job.run
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.at)) if run.at else ""
    verdict = evidence.verdict if evidence is not None else ""
    return Row(
        folder.name, job.optimizer, progress.status, progress.best, verdict, spent.calls, spent.tokens, spent.usd, began
    )


def _table(found: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("run", "optimizer", "status", "best", "verdict", "calls", "USD", "began", box=None, pad_edge=False)
    for row in found:
        best = "" if row.best is None else f"{100 * row.best:.1f}"
        usd = f"{row.usd:.4f}" if row.usd else ""
        cells = (row.name, row.optimizer, row.status, best, row.verdict, f"{row.calls:,}", usd, row.began)
        table.add_row(*map(Text, cells))
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
    for row in found:
        if row.fault:
            click.echo(f"{row.name}: {row.fault}")


def _told(run: str, word: str, tell: Callable[[AttachedJob], Any]) -> None:
    job = AttachedJob(_folder(run))
    owner = job.owner
    tell(job)
    click.echo(f"{owner} was asked to {word} it.")


async def _watched(job: AttachedJob) -> Progress:
    last = Progress(job.status)
    with ProgressBar(job.optimizer, ProgressLine(lambda: last)):
        async for progress in job.events():
            if not sys.stderr.isatty():
                click.echo(line_of(job, progress), err=True)
            last = progress
    return last
