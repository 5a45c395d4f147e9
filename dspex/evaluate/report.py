"""What an evaluation shows and writes: a progress bar, a table, CSV and JSON files."""

import io
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from dspex.core.example import Example
from dspex.core.identity import plain
from dspex.evaluate.running import Row
from dspex.program.saving import write_atomically

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
        line = Table.grid(padding=(0, 1))
        line.add_row(self._title, Bar(total, done, width=24), f"{done}/{total or '?'}", text, clock)
        return line


def records(rows: Sequence[Row], metric: str) -> list[dict[str, Any]]:
    """A dictionary an example with DSPy's columns: its fields and the prediction's, a shared x as example_x and pred_x."""
    made = []
    for row in rows:
        found, given = row.prediction, row.example.toDict()
        found = found.toDict() if isinstance(found, Example) else {"prediction": plain(found)}
        both = given.keys() & found.keys()
        record = {f"example_{key}" if key in both else key: value for key, value in given.items()}
        record |= {f"pred_{key}" if key in both else key: value for key, value in found.items()}
        made.append(record | {metric: row.score})
    return made


def print_table(rows: Sequence[Row], metric: str, limit: int | None) -> None:
    """Show the first `limit` rows (None: all) on stdout, long values cut."""
    from rich.console import Console
    from rich.table import Table

    shown = records(rows[:limit], metric)
    columns = _columns(shown)
    table = Table(*columns)
    for record in shown:
        table.add_row(*(str(record.get(column, ""))[:120] for column in columns))
    Console().print(table)


def save(rows: Sequence[Row], metric: str, csv_path: str | None, json_path: str | None) -> None:
    """Write the rows as CSV, as JSON, or both."""
    made = records(rows, metric)
    if csv_path:
        import csv

        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, _columns(made))
        writer.writeheader()
        writer.writerows(made)
        write_atomically(Path(csv_path), text.getvalue().encode())
    if json_path:
        write_atomically(Path(json_path), msgspec.json.format(msgspec.json.encode(made)))


def _columns(made: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for record in made for key in record))
