"""A comparison as one HTML page: no script, no asset from elsewhere, pictures as inline SVG.

All that programs, examples and metrics wrote goes through `html.escape`; the page's own policy forbids to load or to run
anything, should that ever fail.
"""

import math
from collections.abc import Sequence
from html import escape

from dspex.evaluate.comparison_text import Pair, described, scored
from dspex.evaluate.report import cost
from dspex.evaluate.result import EvaluationResult
from dspex.evaluate.sequential import Look
from dspex.evaluate.statistics import Comparison

MOST_ROWS = 500
LONGEST = 4_000
WIDTH, MARGIN = 640, 40
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse}th,td{padding:.2rem .8rem .2rem 0;
text-align:left;vertical-align:top}pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0;font:inherit}svg{max-width:100%}
details{border-top:1px solid #ddd;padding:.4rem 0}summary{cursor:pointer}.better{color:#14713d}.worse{color:#a61b1b}
""".replace("\n", "")
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
GOOD, BAD, PLAIN = "#14713d", "#a61b1b", "#555"


def page(  # noqa: PLR0917  called in one place
    comparison: Comparison, before: EvaluationResult, after: EvaluationResult, lost: Sequence[Pair], won: Sequence[Pair],
    looks: Sequence[Look],
) -> str:  # fmt: skip
    """The whole page."""
    kind = comparison.verdict.replace(" ", "-")
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>Comparison: {escape(comparison.verdict)}</title><style>{STYLE}</style></head><body>",
        f'<h1 class="{escape(kind)}">{escape(str(comparison))}</h1>',
        _interval_picture(comparison),
        _counts_picture(comparison),
        _sides(before, after),
        _evidence_picture(looks) if looks else "",
        *_examples("Lost", lost),
        *_examples("Won", won),
        "</body></html>\n",
    ]
    return "".join(parts)


def _sides(before: EvaluationResult, after: EvaluationResult) -> str:
    rows = "".join(
        f"<tr><th>{name}</th><td>{escape(scored(result))}</td><td>{escape(cost(result.usage))}</td></tr>"
        for name, result in (("before", before), ("after", after))
    )
    return f"<h2>Scores</h2><table><tr><th></th><th>score, per cent</th><th>paid</th></tr>{rows}</table>"


def _examples(title: str, rows: Sequence[Pair]) -> list[str]:
    if not rows:
        return []
    cut = f", the first {MOST_ROWS}" if len(rows) > MOST_ROWS else ""
    parts = [f"<h2>{title} ({len(rows):,}{cut})</h2>"]
    for old, new in rows[:MOST_ROWS]:
        fields = "".join(
            f"<tr><th>{escape(name)}</th><td><pre>{escape(_cut(text))}</pre></td></tr>"
            for name, text in described(old, new)
        )
        head = f"<summary>example {old.index}: {old.score:g} → {new.score:g}</summary>"
        parts.append(f"<details>{head}<table>{fields}</table></details>")
    return parts


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"


def _interval_picture(comparison: Comparison) -> str:
    """The gain and its interval on an axis with 0."""
    low, high, gain = (100 * value for value in (comparison.low, comparison.high, comparison.delta))
    left, right = min(low, 0.0), max(high, 0.0)
    scale = (WIDTH - 2 * MARGIN) / ((right - left) or 1.0)
    at_low, at_high, at_gain, at_zero = (MARGIN + (value - left) * scale for value in (low, high, gain, 0.0))
    colour = {"better": GOOD, "worse": BAD}.get(comparison.verdict, PLAIN)
    marks = (
        _line(at_zero, 8, at_zero, 46, PLAIN, dashed=True)
        + _line(at_low, 24, at_high, 24, colour, width=4)
        + f'<circle cx="{at_gain:.1f}" cy="24" r="6" fill="{colour}"/>'
        + _label(at_zero, 60, "0")
        + "".join(
            _label(x, 14, f"{value:+.1f}") for x, value in ((at_low, low), (at_high, high)) if abs(x - at_zero) > 24
        )
    )
    return _picture(66, f"gain {gain:+.1f} points, between {low:+.1f} and {high:+.1f}", marks)


def _counts_picture(comparison: Comparison) -> str:
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
        marks += _label(label_x, 36, f"{count:,} {name}", anchor)
        x += width
    return _picture(42, ", ".join(f"{count:,} {name}" for count, name, *_ in parts), marks)


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
        marks += _line(MARGIN, y, WIDTH - MARGIN, y, "#bbb", dashed=True) + _label(MARGIN - 16, y + 4, text)
    for curve, colour in zip(curves, (GOOD, BAD), strict=True):
        points = [(float(MARGIN), 10 + top * up)]
        points += [
            (MARGIN + look.n * across, 10 + (top - value) * up) for look, value in zip(looks, curve, strict=True)
        ]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        marks += f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>'
    marks += _label(WIDTH - MARGIN, 172, f"{looks[-1].n:,} examples")
    title = f"evidence after each of {len(looks)} looks; 40 shows a verdict at 5 %"
    return f"<h2>Evidence for better (green) and for worse (red)</h2>{_picture(178, title, marks)}"


def _picture(height: int, title: str, marks: str) -> str:
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
        f"<title>{escape(title)}</title>{marks}</svg>"
    )


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, *, width: int = 1, dashed: bool = False
) -> str:  # fmt: skip
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"{dashes}/>'


def _label(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" text-anchor="{anchor}" fill="#333">{escape(text)}</text>'
