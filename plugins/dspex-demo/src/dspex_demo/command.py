"""The command line of the demo: which task, which seed, where the run is kept."""

import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import msgspec
import platformdirs

import dspex
from dspex_demo.report import Bar, console, findings, interrupted, introduction
from dspex_demo.study import Outcome, study
from dspex_demo.tasks import TASKS

MODEL = "llamacpp/gemma-3-270m"
INTERRUPTED = 130  # as shells say it of a program that Ctrl-C ended
CLOSE_S = 1.0
VERSION = 1  # of data and study: another one is another run


@click.command()
@click.option(
    "--task", "name", type=click.Choice(sorted(TASKS)), default="name", show_default=True, help="What to optimise."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed makes other examples.")
@click.option("--run-dir", type=click.Path(path_type=Path), help="Folder of the run; the same one goes on with it.")
@click.option("--fresh", is_flag=True, help="Begin anew in a folder of its own, reusing nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON and nothing else.")
def demo(name: str, seed: int, run_dir: Path | None, fresh: bool, as_json: bool) -> None:
    """Optimise a real program on an embedded language model, in about a minute."""
    if fresh and run_dir is not None:
        raise click.UsageError(
            "--fresh chooses a folder itself: leave out --run-dir, or name one that is not there yet."
        )
    folder = run_folder(name, seed, run_dir, fresh=fresh)
    # The folder's name is in the cache's key, so that a new run pays for itself and an old one never twice.
    lm = dspex.LM(MODEL, temperature=0.0, rollout_id=folder.name, context=1024, threads=1)
    run(name, seed, folder, lm, as_json)


def run(name: str, seed: int, folder: Path, lm: dspex.LM, as_json: bool = False) -> None:
    """The demo on any LM; Ctrl-C, or SIGTERM, ends with exit code 130 and says how to go on."""
    task = TASKS[name]
    data = task.data(seed)
    again = f"dspex demo --task {name} --seed {seed} --run-dir {shlex.quote(str(folder))}"
    out = console(quiet=as_json)
    introduction(out, name, task, data, seed=seed, run_dir=folder)
    try:
        with terminated_as_interrupted(), Bar(out) as bar:
            outcome = study(task, data, lm, folder, bar)
    except KeyboardInterrupt:
        interrupted(folder, again)
        end_soon(INTERRUPTED)
        sys.exit(INTERRUPTED)
    if as_json:
        click.echo(json.dumps(as_data(outcome), indent=2))
    else:
        findings(out, name, task, data, outcome)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, which is how nox, `timeout` and containers end a program, does what Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_soon(code: int) -> None:
    """End this process in a second even if closing takes longer: a model that is being loaded cannot be told to stop."""
    last = threading.Timer(CLOSE_S, os._exit, (code,))
    last.daemon = True
    last.start()


def as_data(outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON data."""
    return {
        "scores": {name: [result.score, *result.interval] for name, result in outcome.results.items()},
        "gains": {name: msgspec.to_builtins(gain) for name, gain in outcome.gains.items()},
        "calls": outcome.calls,
        "reused": outcome.reused,
        "lost": outcome.lost,
        "tokens": outcome.tokens,
        "seconds": round(outcome.seconds, 1),
        "program": str(outcome.saved),
        "run_dir": str(outcome.run_dir),
    }


def run_folder(name: str, seed: int, given: Path | None = None, *, fresh: bool = False) -> Path:
    """The run's folder, absolute: the one given, else one a task and seed, or with `fresh` one that nobody has used."""
    usual = f"demo-{name}-{seed}-v{VERSION}"
    return (given or runs_folder() / (f"{usual}-{uuid4().hex[:8]}" if fresh else usual)).absolute()


def runs_folder() -> Path:
    """Where runs lie: DSPEX_RUNS_DIR, else below the user's state folder."""
    given = os.environ.get("DSPEX_RUNS_DIR")
    return Path(given).expanduser() if given else Path(platformdirs.user_state_path("dspex")) / "runs"
