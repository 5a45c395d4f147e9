"""What an evaluation shows and writes: a progress bar, a table, CSV and JSON files."""

import io
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import msgspec

from dspex.core.example import Example
from dspex.core.identity import plain
from dspex.core.usage import NOTHING, Usage
from dspex.evaluate.result import EvaluationResult, measured
from dspex.evaluate.running import Row
from dspex.evaluate.statistics import running_interval

State = tuple[int, int | None, str]


class ProgressBar:
    """A line on stderr: bar, done of total, a text, time left; silent where stderr is no terminal.

    It is redrawn by a timer: `update` only notes the state, or `poll` is asked for (done, total or None, text).
    """

    def __init__(self, title: str, poll: Callable[[], State] | None = None) -> None:
        self._title = title
        self._state: State = (0, None, "")
        self._poll = poll or (lambda: self._state)
        self._start = time.monotonic()
        self._live: Any = None

    def update(self, done: int, total: int | None = None, text: str = "") -> None:
        """Note how far it is; cheap enough for every item."""
        self._state = (done, total, text)

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), get_renderable=self._line, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _line(self) -> Any:
        from rich.progress_bar import ProgressBar as Bar
        from rich.table import Table

        done, total, text = self._poll()
        seconds = time.monotonic() - self._start
        going = done and total and done < total
        clock = f"{seconds / done * (total - done):.0f} s left" if going and total else f"{seconds:.0f} s"
        rate = f"{done / seconds:.1f}/s" if done and seconds else ""
        line = Table.grid(padding=(0, 1))
        line.add_row(self._title, Bar(total, done, width=24), f"{done}/{total or '?'}", rate, text, clock)
        return line


class Tally:
    """What a bar says of rows while they come: each is looked at once."""

    def __init__(self, rows: Sequence[Row], total: int | None) -> None:
        self._rows, self._total = rows, total
        self._seen, self._sum, self._squares, self._usage = 0, 0.0, 0.0, NOTHING

    def state(self) -> State:
        """Done, total, and score with interval and cost."""
        fresh = self._rows[self._seen :]
        self._seen += len(fresh)
        self._sum += sum(row.score for row in fresh)
        self._squares += sum(row.score * row.score for row in fresh)
        self._usage = sum((row.usage + row.judge_usage for row in fresh), self._usage)
        return self._seen, self._total, f"{self._score()}{cost(self._usage)}"

    def _score(self) -> str:
        if not self._seen:
            return ""
        low, high = running_interval(self._sum, self._squares, self._seen)
        return f"{100 * self._sum / self._seen:.1f} [{100 * low:.1f}, {100 * high:.1f}], "


def cost(usage: Usage) -> str:
    """Calls, tokens and, where it is known, the price, as words."""
    price = "" if usage.usd is None else f", ${usage.usd:.4f}"
    return f"{usage.calls:,} calls, {usage.total_tokens:,} tokens{price}"


def records(rows: Sequence[Row], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """A dictionary an example with DSPy's columns: its fields and the prediction's, a shared x as example_x and pred_x; last
    the metrics.
    """
    made = []
    for row in rows:
        found, given = row.prediction, row.example.toDict()
        found = found.toDict() if isinstance(found, Example) else {"prediction": plain(found)}
        both = given.keys() & found.keys()
        record = {f"example_{key}" if key in both else key: value for key, value in given.items()}
        record |= {f"pred_{key}" if key in both else key: value for key, value in found.items()}
        made.append(record | (dict(row.scores) if row.scores else {metrics[0]: row.score}))
    return made


def print_table(result: EvaluationResult, metrics: Sequence[str], limit: int | None) -> None:
    """Show the first `limit` rows (None: all) on stdout, long values cut, and the score below them."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = records(result.rows[:limit], metrics)
    columns = _columns(shown)
    score = measured([row.score for row in result.rows], len(result.failures))
    table = Table(*map(escape, columns), caption=f"{score}; {cost(result.usage)}".replace("[", "\\["))
    for record in shown:
        table.add_row(*(escape(str(record.get(column, ""))[:120]) for column in columns))
    Console().print(table)


def save(rows: Sequence[Row], metrics: Sequence[str], csv_path: str | None, json_path: str | None) -> None:
    """Write the rows as CSV, as JSON, or both; those that failed with their traceback as `error`."""
    from dspex.program.saving import write_atomically

    pairs = zip(records(rows, metrics), rows, strict=True)
    made = [record if row.ok or "error" in record else {**record, "error": row.error} for record, row in pairs]
    if csv_path:
        import csv

        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, _columns(made))
        writer.writeheader()
        writer.writerows(made)
        write_atomically(csv_path, text.getvalue().encode())
    if json_path:
        write_atomically(json_path, msgspec.json.format(msgspec.json.encode(made)))


def _columns(made: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for record in made for key in record))
