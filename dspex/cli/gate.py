"""`dspex gate`: a program against its baseline on a devset, for a CI job; the exit code is the verdict."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import msgspec

from dspex.app.accounting import budget
from dspex.cli import gate_files
from dspex.cli.programs import imported, load_program
from dspex.core.errors import ConfigurationError, DspexError
from dspex.core.example import Example
from dspex.evaluate.compare import ProgramComparison, compare
from dspex.evaluate.datasets import load_examples
from dspex.evaluate.devset import inputs_of
from dspex.program.chain_of_thought import ChainOfThought
from dspex.program.module import Module
from dspex.program.predict import Predict
from dspex.program.saving import write_atomically

WORSE, CANNOT_RUN = 1, 2
FILE = click.Path(path_type=Path)


class Outcome(msgspec.Struct, frozen=True):
    """What the gate decides, in one sentence."""

    passed: bool
    words: str


class CannotRun(click.ClickException):
    """Nothing was decided, whatever the reason: it must not look like a verdict."""

    exit_code = CANNOT_RUN


@click.command()
@click.argument("file", type=FILE)
@click.option("--against", "baseline", type=FILE, required=True, help="The baseline: another saved program.")
@click.option("--devset", type=FILE, required=True, help="Examples: .jsonl, .json, .csv or .tsv.")
@click.option("--metric", "metric_name", required=True, metavar="MODULE:FUNCTION", help="What scores them.")
@click.option(
    "--margin", type=click.FloatRange(0, 100), metavar="POINTS", help="Pass only if a loss beyond it is ruled out."
)
@click.option("--inputs", metavar="NAME,NAME", help="The input fields, if the program does not tell.")
@click.option("--lm", "model", metavar="PROVIDER/MODEL", help="The model of both; else those that were saved.")
@click.option("--program", "named", metavar="PROGRAM", help="package.module:attribute, or a signature's text.")
@click.option("--allow", multiple=True, metavar="MODULE", help="Let the programs' own modules be imported.")
@click.option("--max-calls", type=click.IntRange(0), help="A wall: the most LM calls.")
@click.option("--budget", "usd", type=click.FloatRange(0), metavar="USD", help="A wall: the most money.")
@click.option("--sequential", is_flag=True, help="Stop as soon as a verdict is shown.")
@click.option("--run-dir", type=FILE, help="Keep finished examples there; the same command goes on from them.")
@click.option("--junit", type=FILE, help="Write a JUnit file.")
@click.option("--markdown", type=FILE, help="Write a summary in Markdown.")
@click.option("--html", type=FILE, help="Write the report of the examples that changed.")
def gate(
    *,
    file: Path, baseline: Path, devset: Path, metric_name: str, margin: float | None, inputs: str | None,
    model: str | None, named: str | None, allow: Sequence[str], max_calls: int | None, usd: float | None, sequential: bool, run_dir: Path | None,
    junit: Path | None, markdown: Path | None, html: Path | None,
) -> None:  # fmt: skip
    """Compare a saved program with a baseline, for a CI job.

    Both, the program in FILE and that of --against, run on the same examples.

    Exit code 0: better, or not shown to be worse; with --margin, a loss of more points than that is ruled out.
    1: worse; with --margin, not ruled out. 2: it could not be decided, since something failed.
    """
    try:
        new, old = (load_program(one, named, model, allow) for one in (file, baseline))
        examples = _examples(devset, new, inputs)
        metric = imported(metric_name, "--metric", "Write package.module:function; this folder is looked in too.")
        wall = budget(calls=max_calls, usd=usd) if max_calls is not None or usd is not None else nullcontext()
        with wall:
            found = compare(old, new, examples, metric, sequential=sequential, run_dir=run_dir)
        outcome = judged(found, margin)
        for path, text in _files(found, outcome, junit, markdown, html):
            write_atomically(path, text.encode(errors="replace"))
    except DspexError:
        raise  # the group shows it, with the same exit code
    except Exception as error:
        raise CannotRun(f"{type(error).__name__}: {error}") from error
    click.echo(found.report(limit=5))
    click.echo(f"\n{'PASSED' if outcome.passed else 'FAILED'}: {outcome.words}")
    if not outcome.passed:
        raise click.exceptions.Exit(WORSE)


def judged(found: ProgramComparison, margin: float | None) -> Outcome:
    """The gate's decision: by the verdict, or, with a margin in points, by the low end of the interval."""
    low, words = 100 * found.low, f"{found.verdict}, {100 * found.delta:+.1f} points"
    if margin is None:
        return Outcome(found.verdict != "worse", words)
    if low >= -margin:
        return Outcome(True, f"{words}: a loss of more than {margin:g} points is ruled out (at worst {low:+.1f})")
    return Outcome(False, f"{words}: a loss of more than {margin:g} points is not ruled out (at worst {low:+.1f})")


def _files(
    found: ProgramComparison, outcome: Outcome, junit: Path | None, markdown: Path | None, html: Path | None
) -> Sequence[tuple[Path, str]]:
    made: list[tuple[Path, str]] = []
    if junit is not None:
        made.append((junit, gate_files.junit(found, outcome.passed, outcome.words)))
    if markdown is not None:
        made.append((markdown, gate_files.markdown(found, outcome.passed, outcome.words)))
    if html is not None:
        made.append((html, found.html()))
    return made


def _examples(path: Path, program: Module, inputs: str | None) -> list[Example]:
    part: Any = program.predict if isinstance(program, ChainOfThought) else program
    names = frozenset(filter(None, inputs.split(","))) if inputs else inputs_of(part, required_only=False)
    if not names:
        raise ConfigurationError("The program does not tell its inputs: name them, --inputs question,context.")
    types = part.signature if isinstance(part, Predict) else None
    examples = load_examples(path, types=types)
    return [example.with_inputs(*(name for name in example if name in names)) for example in examples]
