"""A comparison as one HTML page."""

import math
from collections.abc import Sequence
from html import escape

from dspex.core.evidence import Comparison
from dspex.evaluate.comparison_text import Pair, described, scored
from dspex.evaluate.html_parts import BAD, GOOD, MARGIN, PLAIN, WIDTH, document, label, line, picture, table
from dspex.evaluate.report import cost
from dspex.evaluate.result import EvaluationResult
from dspex.evaluate.sequential import Look

MOST_ROWS = 500


def page(  # noqa: PLR0917  called in one place
    comparison: Comparison, before: EvaluationResult, after: EvaluationResult, lost: Sequence[Pair], won: Sequence[Pair],
    looks: Sequence[Look],
) -> str:  # fmt: skip
    """The whole page."""
    kind = comparison.verdict.replace(" ", "-")
    parts = [
        f'<h1 class="{escape(kind)}">{escape(str(comparison))}</h1>',
        interval_picture(comparison),
        counts_picture(comparison),
        _sides(before, after),
        _evidence_picture(looks) if looks else "",
        *changed("Lost", lost),
        *changed("Won", won),
    ]
    return document(f"Comparison: {comparison.verdict}", parts)


def _sides(before: EvaluationResult, after: EvaluationResult) -> str:
    rows = "".join(
        f"<tr><th>{name}</th><td>{escape(scored(result))}</td><td>{escape(cost(result.usage))}</td></tr>"
        for name, result in (("before", before), ("after", after))
    )
    return f"<h2>Scores</h2><table><tr><th></th><th>score, per cent</th><th>paid</th></tr>{rows}</table>"


def changed(title: str, rows: Sequence[Pair]) -> list[str]:
    """Examples on which two programs differ, each to be unfolded."""
    if not rows:
        return []
    cut = f", the first {MOST_ROWS}" if len(rows) > MOST_ROWS else ""
    parts = [f"<h2>{title} ({len(rows):,}{cut})</h2>"]
    for old, new in rows[:MOST_ROWS]:
        head = f"<summary>example {old.index}: {old.score:g} → {new.score:g}</summary>"
        parts.append(f"<details>{head}{table(described(old, new))}</details>")
    return parts


def interval_picture(comparison: Comparison) -> str:
    """The gain and its interval on an axis with 0."""
    low, high, gain = (100 * value for value in (comparison.low, comparison.high, comparison.delta))
    left, right = min(low, 0.0), max(high, 0.0)
    scale = (WIDTH - 2 * MARGIN) / ((right - left) or 1.0)
    at_low, at_high, at_gain, at_zero = (MARGIN + (value - left) * scale for value in (low, high, gain, 0.0))
    colour = {"better": GOOD, "worse": BAD}.get(comparison.verdict, PLAIN)
    marks = (
        line(at_zero, 8, at_zero, 46, PLAIN, dashed=True)
        + line(at_low, 24, at_high, 24, colour, width=4)
        + f'<circle cx="{at_gain:.1f}" cy="24" r="6" fill="{colour}"/>'
        + label(at_zero, 60, "0")
        + "".join(
            label(x, 14, f"{value:+.1f}") for x, value in ((at_low, low), (at_high, high)) if abs(x - at_zero) > 24
        )
    )
    return picture(66, f"gain {gain:+.1f} points, between {low:+.1f} and {high:+.1f}", marks)


def counts_picture(comparison: Comparison) -> str:
    """Examples lost, alike and won as parts of one bar."""
    alike = comparison.n - comparison.wins - comparison.losses
    parts = (
        (comparison.losses, "lost", BAD, MARGIN, "start"),
        (alike, "alike", "#bbb", WIDTH / 2, "middle"),
        (comparison.wins, "won", GOOD, WIDTH - MARGIN, "end"),
    )
    x, marks = float(MARGIN), ""
    for count, name, colour, label_x, anchor in parts:
        width = (WIDTH - 2 * MARGIN) * count / comparison.n
        marks += f'<rect x="{x:.1f}" y="4" width="{width:.1f}" height="16" fill="{colour}"/>'
        marks += label(label_x, 36, f"{count:,} {name}", anchor)
        x += width
    return picture(42, ", ".join(f"{count:,} {name}" for count, name, *_ in parts), marks)


def _evidence_picture(looks: Sequence[Look]) -> str:
    """The evidence at each look, as a power of ten."""
    curves = [
        [math.log10(max(value, 1e-3)) for value in side]
        for side in zip(*((x.better, x.worse) for x in looks), strict=True)
    ]
    top, bottom = max(2.0, *curves[0], *curves[1]), min(-1.0, *curves[0], *curves[1])
    across, up = (WIDTH - 2 * MARGIN) / looks[-1].n, 140 / (top - bottom)
    marks = ""
    for value, text in ((0.0, "1"), (math.log10(40), "40")):
        y = 10 + (top - value) * up
        marks += line(MARGIN, y, WIDTH - MARGIN, y, "#bbb", dashed=True) + label(MARGIN - 16, y + 4, text)
    for curve, colour in zip(curves, (GOOD, BAD), strict=True):
        points = [(float(MARGIN), 10 + top * up)]
        points += [
            (MARGIN + look.n * across, 10 + (top - value) * up) for look, value in zip(looks, curve, strict=True)
        ]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        marks += f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>'
    marks += label(WIDTH - MARGIN, 172, f"{looks[-1].n:,} examples")
    title = f"evidence after each of {len(looks)} looks; 40 shows a verdict at 5 %"
    return f"<h2>Evidence for better (green) and for worse (red)</h2>{picture(178, title, marks)}"
