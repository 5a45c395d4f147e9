"""What a run did, as one HTML page made from its journal: score by cost, candidates, the prompt before and after, examples.

Like every page of dspex it loads nothing and runs nothing; what models, programs and examples wrote is escaped.
"""

import difflib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import msgspec

from dspex.core.candidate import Candidate, Rollout
from dspex.core.clock import derived_rng
from dspex.core.evidence import Evidence
from dspex.core.example import Example, Prediction
from dspex.core.usage import Usage
from dspex.engine.progress import Ledger
from dspex.evaluate.comparison_html import changed, counts_picture, interval_picture
from dspex.evaluate.html_parts import GOOD, MARGIN, PLAIN, WIDTH, cut, document, label, line, picture, table
from dspex.evaluate.running import Row
from dspex.evaluate.statistics import mean_interval, running_interval
from dspex.runtime.records import Beat, Considered, End, Record, Run, Step, Stopped

FILE = "report.html"
READ: frozenset[type[Record]] = frozenset({Run, Step, Considered, Beat, Stopped, End})  # what this page is made of
MOST_CANDIDATES = 200
FEW = 100  # scores, up to which an interval is the bootstrap's
MOST_LINES = 2_000  # a difference takes time that grows with their square
HEIGHT = 200


class Brief(msgspec.Struct, frozen=True):
    """Of a Rollout what most of this page needs: whole ones take three times as long to read."""

    example: str
    candidate: str
    score: float
    usage: Usage = Usage()
    trace: list[msgspec.Raw] | None = None


class Scored(msgspec.Struct):
    """A candidate of the run: its scores before the search ended, and the calls that had been made when it had them all."""

    label: str
    candidate: Candidate
    parents: tuple[str, ...] = ()
    scores: dict[str, float] = {}
    at: int = 0

    @property
    def mean(self) -> float:
        """Mean score."""
        return sum(self.scores.values()) / len(self.scores) if self.scores else 0.0


class Story(msgspec.Struct):
    """What a journal tells."""

    run: Run
    candidates: dict[str, Scored]
    rollouts: dict[str, dict[str, msgspec.Raw]]  # candidate -> example -> the last run, held examples included
    width: int  # the most examples that a candidate was scored on
    calls: int
    stopped: Stopped | None
    end: End | None

    @property
    def ranked(self) -> list[Scored]:
        """Candidates, those scored on most examples first, best first."""
        return sorted(self.candidates.values(), key=lambda one: (-len(one.scores), -one.mean))


def write(
    folder: Path, records: Sequence[Record], ledger: Ledger, student: Candidate, examples: Mapping[str, Example]
) -> None:
    """Write `report.html` into a run's folder, not synced: the journal makes it again. Raises OSError."""
    text = page(records, ledger, student, examples)
    new = folder / f"{FILE}.new"
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(text.encode(errors="replace"))
    new.replace(folder / FILE)


def page(records: Sequence[Record], ledger: Ledger, student: Candidate, examples: Mapping[str, Example]) -> str:
    """The report of a run, ended or not; `examples` by key."""
    story = _story(records, student)
    evidence = msgspec.convert(story.end.evidence, Evidence) if story.end else None
    comparison = evidence.comparison if evidence is not None else None
    name = str(story.run.identity["optimizer"][0]).rpartition(".")[2]
    verdict = evidence.verdict if evidence is not None else "not finished"
    best = next((one for one in story.ranked if one.candidate.key != student.key), None)
    won, lost = _changes(story, student, best, examples)
    parts = [
        f'<h1 class="{escape(verdict.replace(" ", "-"))}">{escape(name)}: {escape(verdict)}</h1>',
        f"<p>{escape(str(comparison))}</p>{interval_picture(comparison)}{counts_picture(comparison)}"
        if comparison
        else "",
        "<h2>What it cost, and what it claims</h2>",
        table([*(evidence.rows() if evidence is not None else ()), *_costs(ledger, story)]),
        _curve(story),
        _candidates(story, story.end.winner if story.end else None),
        _difference(student, best, is_kept=bool(story.end and best and story.end.winner == best.candidate.key)),
        *changed("Lost", lost),
        *changed("Won", won),
    ]
    return document(f"{name}: {verdict}", parts)


def _story(records: Sequence[Record], student: Candidate) -> Story:
    run = records[0]
    assert isinstance(run, Run)
    story = Story(run, {student.key: Scored("student", student)}, {}, 0, 0, None, None)
    for record in records:
        if isinstance(record, Considered):
            made = msgspec.json.decode(record.state, type=Candidate)
            known = story.candidates.get(record.key)
            if known is None or known.label == "student":
                story.candidates[record.key] = Scored(record.label, made, record.parents, known.scores if known else {})
        elif isinstance(record, Step) and record.kind == "evaluate":
            _scored(story, record.value)
        elif isinstance(record, Beat) and record.status == "queued":  # gone on with: what had ended has not
            story.stopped = story.end = None
        elif isinstance(record, Stopped):
            story.stopped = record
        elif isinstance(record, End):
            story.end = record
    story.width = max((len(one.scores) for one in story.candidates.values()), default=0)
    return story


def _scored(story: Story, value: msgspec.Raw) -> None:
    rollout = BRIEF.decode(value)
    story.calls += rollout.usage.calls
    if rollout.trace is not None:  # a teacher's run, which scores no candidate
        return
    story.rollouts.setdefault(rollout.candidate, {})[rollout.example] = value
    found = story.candidates.get(rollout.candidate)
    if found is not None and story.stopped is None:  # later ones are those of the evidence
        found.scores[rollout.example] = rollout.score
        found.at = story.calls


def _costs(ledger: Ledger, story: Story) -> Iterable[tuple[str, str]]:
    yield "paid", f"{ledger.paid + ledger.paid_before:,} calls, {ledger.paid_before:,} of them by earlier processes"
    yield "not paid", f"{ledger.reused:,} from the journal, {ledger.cached:,} cached"
    yield "failed, lost in flight", f"{ledger.failed:,}, {ledger.lost:,} calls"
    yield "running", f"{ledger.seconds:,.1f} s"
    if story.stopped and story.stopped.detail:
        yield "ended", f"{story.stopped.why}: {story.stopped.detail}"


def _curve(story: Story) -> str:
    """Each candidate that was scored at its cost, and the best so far of those that were scored on all examples."""
    dots = sorted((one for one in story.candidates.values() if one.scores), key=lambda one: one.at)
    if not dots:
        return ""
    across = (WIDTH - 2 * MARGIN) / max(1, dots[-1].at)
    low, high = min(0.0, *(one.mean for one in dots)), max(1.0, *(one.mean for one in dots))
    up = (HEIGHT - 40) / (high - low)
    marks = "".join(
        line(MARGIN, 10 + (high - y) * up, WIDTH - MARGIN, 10 + (high - y) * up, "#ddd")
        + label(MARGIN - 18, 14 + (high - y) * up, f"{100 * y:.0f}")
        for y in (low, (low + high) / 2, high)
    )
    best = -math.inf
    steps: list[str] = []
    for one in dots:
        x, y = MARGIN + one.at * across, 10 + (high - one.mean) * up
        is_whole = len(one.scores) == story.width
        fill, title = (
            (PLAIN if is_whole else "none"),
            f"{one.label}: {100 * one.mean:.1f} on {len(one.scores)} examples",
        )
        marks += f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{fill}" stroke="{PLAIN}"><title>{escape(title)}</title></circle>'
        if is_whole and one.mean > best:
            steps += [f"{x:.1f},{10 + (high - best) * up:.1f}"] if steps else []
            steps.append(f"{x:.1f},{y:.1f}")
            best = one.mean
    steps.append(f"{WIDTH - MARGIN:.1f},{10 + (high - best) * up:.1f}")
    marks += f'<polyline points="{" ".join(steps)}" fill="none" stroke="{GOOD}" stroke-width="2"/>'
    marks += label(WIDTH - MARGIN, HEIGHT - 8, f"{dots[-1].at:,} calls", "end")
    title = f"best score so far by calls: {100 * best:.1f} after {dots[-1].at:,} calls"
    return f"<h2>Score by cost</h2>{picture(HEIGHT, title, marks)}<p>Hollow: not run on all examples.</p>"


def _candidates(story: Story, winner: str | None) -> str:
    ranked = story.ranked
    many = f", the first {MOST_CANDIDATES}" if len(ranked) > MOST_CANDIDATES else ""
    labels = {key: one.label for key, one in story.candidates.items()}
    rows = []
    for one in ranked[:MOST_CANDIDATES]:
        scores = list(one.scores.values())
        low, high = _interval(scores, one.candidate.key) if scores else (0.0, 0.0)
        shown = f"{100 * one.mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]" if scores else "not scored"
        demos = sum(len(state.demos) for state in one.candidate.predictors.values())
        above = ", ".join(labels.get(key, key[:8]) for key in one.parents)
        cells = [
            one.label,
            shown,
            str(len(scores)),
            str(demos),
            above,
            "returned" if one.candidate.key == winner else "",
        ]
        rows.append("".join(f"<td>{escape(cut(cell))}</td>" for cell in cells))
    names = ("candidate", "score, per cent", "examples", "demos", "made from", "")
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<h2>Candidates ({len(ranked):,}{many})</h2><table><tr>{head}</tr>{body}</table>"


def _interval(scores: Sequence[float], key: str) -> tuple[float, float]:
    """A bootstrap of many candidates on many examples would take as long as some searches."""
    if len(scores) > FEW:
        return running_interval(sum(scores), sum(score * score for score in scores), len(scores))
    return mean_interval(scores, derived_rng("report", key))


def _difference(student: Candidate, best: Scored | None, *, is_kept: bool) -> str:
    """What each predictor is told, before and after, line by line."""
    if best is None:
        return ""
    kept = "" if is_kept else " This is the best that was found; the program returned is another."
    parts = [f"<h2>Prompts, before and after</h2><p>{escape(best.label)}.{kept}</p>"]
    for path, after in best.candidate.predictors.items():
        before = student.predictors.get(path)
        old, new = (_told(state) if state is not None else [] for state in (before, after))
        lines = difflib.ndiff(old, new) if len(old) + len(new) < MOST_LINES else [f"  {one}" for one in new]
        marked = "".join(_marked(one) for one in lines if one[0] != "?")
        parts.append(f"<details open><summary>{escape(path)}</summary><pre>{marked}</pre></details>")
    return "".join(parts)


def _told(state: Any) -> list[str]:
    lines = [str(line) for line in state.instructions.splitlines()]
    for number, demo in enumerate(state.demos, 1):
        kind = "made by a run" if demo.augmented else "as given"
        lines.append(f"-- demonstration {number}, {kind}")
        lines += [
            f"{name}: {part}" for name, value in demo.fields.items() for part in cut(str(value)).splitlines() or [""]
        ]
    if state.params:
        lines.append(f"-- {state.params}")
    return lines


def _marked(text: str) -> str:
    kind = {"+": "better", "-": "worse"}.get(text[:1] if text[1:2] == " " else "", "")
    shown = escape(text)
    return f'<span class="{kind}">{shown}</span>\n' if kind else f"{shown}\n"


def _changes(
    story: Story, student: Candidate, best: Scored | None, examples: Mapping[str, Example]
) -> tuple[list[tuple[Row, Row]], list[tuple[Row, Row]]]:
    """Examples that the best candidate won and lost against the student, those of the evidence first."""
    if best is None:
        return [], []
    old, new = story.rollouts.get(student.key, {}), story.rollouts.get(best.candidate.key, {})
    pairs = [(old[key], new[key]) for key in reversed(list(old)) if key in new]
    rows = [(_row(at, a, examples), _row(at, b, examples)) for at, (a, b) in enumerate(pairs)]
    return [pair for pair in rows if pair[1].score > pair[0].score], [
        pair for pair in rows if pair[1].score < pair[0].score
    ]


def _row(index: int, value: msgspec.Raw, examples: Mapping[str, Example]) -> Row:
    rollout = msgspec.json.decode(value, type=Rollout)
    example = examples.get(rollout.example) or Example(example=rollout.example).with_inputs("example")
    made = Prediction(rollout.outputs)
    return Row(index, example, made, rollout.score, rollout.ok, rollout.feedback, rollout.error)


BRIEF = msgspec.json.Decoder(Brief)
