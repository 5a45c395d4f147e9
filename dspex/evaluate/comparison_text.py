"""A comparison as text for a terminal, a log or a pull request."""

from collections.abc import Iterator, Sequence
from typing import Any

from dspex.core.evidence import Comparison
from dspex.core.example import Example
from dspex.evaluate.report import cost
from dspex.evaluate.result import EvaluationResult
from dspex.evaluate.running import Row

Pair = tuple[Row, Row]
LONGEST = 400


def report(  # noqa: PLR0917  called in one place
    comparison: Comparison, before: EvaluationResult, after: EvaluationResult, lost: Sequence[Pair], won: Sequence[Pair],
    limit: int,
) -> str:  # fmt: skip
    """The whole report; control characters of what programs wrote are shown as escapes."""
    lines = [str(comparison), *sides(before, after)]
    for title, rows in (("Lost", lost), ("Won", won)):
        if rows:
            lines += ["", f"{title} ({len(rows):,}{f', the first {limit:,}' if len(rows) > limit else ''})"]
        for old, new in rows[:limit]:
            lines.append(f"  example {old.index}: {old.score:g} -> {new.score:g}")
            lines += [f"    {name}: {visible(text)}" for name, text in described(old, new)]
    return "\n".join(lines)


def sides(before: EvaluationResult, after: EvaluationResult) -> list[str]:
    """A line for each program: score, interval, failures and cost."""
    return [
        f"{name:6} {scored(result)}; {cost(result.usage)}" for name, result in (("before", before), ("after", after))
    ]


def scored(result: EvaluationResult) -> str:
    """Score, interval and failures of one program."""
    low, high = result.interval
    failures = len(result.failures)
    return f"{result.score:.1f} [{low:.1f}, {high:.1f}]" + (f", {failures:,} failed" if failures else "")


def described(old: Row, new: Row) -> Iterator[tuple[str, str]]:
    """What one example was given, what it should have been, and what both programs made of it."""
    inputs = old.example._input_keys or ()
    for name, value in old.example.items():
        yield name if name in inputs else f"wanted, {name}", str(value)
    for side, row in (("before", old), ("after", new)):
        yield from _outcome(side, row)


def _outcome(side: str, row: Row) -> Iterator[tuple[str, str]]:
    if not row.ok:
        yield f"{side}, failed", (row.error or "").strip().rpartition("\n")[2]
        return
    made: Any = row.prediction
    for name, value in made.items() if isinstance(made, Example) else [("output", made)]:
        yield f"{side}, {name}", str(value)
    if row.feedback:
        yield f"{side}, feedback", row.feedback


def visible(text: str) -> str:
    """One line, cut; what would move a cursor or colour a terminal is shown as an escape."""
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in cut)
