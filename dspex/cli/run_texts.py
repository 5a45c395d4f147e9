"""What `dspex runs` says of a run."""

from collections.abc import Iterator
from typing import Any

import msgspec

from dspex.core.candidate import Rollout
from dspex.core.clock import derived_rng
from dspex.core.usage import Budget
from dspex.engine.attached import AttachedJob
from dspex.engine.progress import Progress
from dspex.evaluate.statistics import verdict
from dspex.runtime.journal_reader import JournalReader
from dspex.runtime.records import End, Step

MOST_CANDIDATES = 20


def line_of(job: AttachedJob, progress: Progress) -> str:
    """How far it is, in a line."""
    done = f"{progress.done}/{progress.total}" if progress.total else str(progress.done)
    best = "" if progress.best is None else f", best {100 * progress.best:.1f} on {progress.n}"
    spent = progress.spent
    price = f", {spent.usd:.4f} USD" if spent.usd else ""
    phase = f" {progress.phase}" if progress.phase else ""
    return f"{job.run_dir.name}: {progress.status}{phase} {done}{best}, {spent.calls:,} calls, {spent.tokens:,} tokens{price}"


def details(job: AttachedJob) -> Iterator[str]:
    """All that its journal says of a run."""
    run, progress = job.run, job.progress
    yield line_of(job, progress)
    if job.owner:
        yield f"run by     {job.owner}"
    yield f"folder     {job.run_dir}"
    yield f"optimizer  {job.optimizer} {_settings(run.identity['optimizer'][1])}"
    yield f"data       {_data(run.identity)}, seed {run.identity.get('seed')}"
    yield f"versions   {', '.join(f'{name} {version}' for name, version in run.versions.items())}"
    if run.script:
        yield f"begun by   {run.script}"
    if run.fork:
        yield f"fork of    {run.fork}"
    if run.budget is not None:
        yield f"budget     {_budget(run.budget)}"
    if run.estimate:
        yield f"estimate   {_budget(msgspec.convert(run.estimate, Budget, strict=False), 'at most ')}"
    spent = progress.spent
    yield f"time       {spent.seconds:.1f} s, {spent.paid_before:,} calls paid, {spent.lost} lost in flight"
    if progress.best is not None and progress.low is not None and progress.high is not None:
        yield f"best       {100 * progress.best:.1f} [{100 * progress.low:.1f}, {100 * progress.high:.1f}], n={progress.n}"
    yield from _outcome(job)


def _outcome(job: AttachedJob) -> Iterator[str]:
    evidence = job.evidence
    if evidence is not None:
        yield f"evidence   {evidence.headline}"
        yield from (f"note       {note}" for note in evidence.notes)
    elif job.detail:
        yield f"error      {job.detail}"
    labels = [label for label, _ in job.candidates]
    if labels:
        more = f" and {len(labels) - MOST_CANDIDATES} more" if len(labels) > MOST_CANDIDATES else ""
        yield f"candidates {len(labels)}: {', '.join(labels[:MOST_CANDIDATES])}{more}"


def shown_comparison(one: AttachedJob, other: AttachedJob) -> Iterator[str]:
    """Both runs, what they differ in, and their programs on the examples that both were run on."""
    for job in (one, other):
        yield line_of(job, job.progress)
        if job.evidence is not None:
            yield f"  {job.evidence.headline}"
    names = [name for name, value in one.run.identity.items() if other.run.identity.get(name) != value]
    yield f"They differ in: {', '.join(names) or 'nothing that is part of a run'}."
    if "metric" in names:
        yield "Their metrics differ, so their scores cannot be compared."
        return
    old, new = _scores(one), _scores(other)
    common = sorted(old.keys() & new.keys())
    if len(common) < 2:
        yield "Their programs were run on no examples in common."
        return
    found = verdict(
        [old[key] for key in common], [new[key] for key in common], derived_rng("runs compare"), basis="common examples"
    )
    yield f"Second against first: {found}"
    yield "Both may have been chosen on these examples: to claim it, run `dspex gate` or dspex.compare on fresh ones."


def _scores(job: AttachedJob) -> dict[str, float]:
    """The scores of the program that a run has left, by example."""
    records = JournalReader(job.run_dir).poll()
    winner = next((record.winner for record in reversed(records) if isinstance(record, End)), "")
    rows = (msgspec.json.decode(r.value, type=Rollout) for r in records if isinstance(r, Step) and r.kind == "evaluate")
    found: dict[str, float] = {}
    for row in rows:
        if row.candidate == winner:
            found.setdefault(row.example, row.score)
    return found


def _settings(given: Any) -> str:
    short = {
        name: value for name, value in given.items() if isinstance(value, str | int | float) and len(str(value)) < 40
    }
    return ", ".join(f"{name}={value!r}" for name, value in short.items())


def _data(identity: dict[str, Any]) -> str:
    names = ("trainset", "valset", "held examples")
    return ", ".join(f"{identity[name]['examples']} {name}" for name in names if name in identity)


def _budget(budget: Budget, before: str = "") -> str:
    limits = {unit: getattr(budget, unit) for unit in ("calls", "tokens", "usd", "seconds")}
    return before + ", ".join(f"{limit:,} {unit}" for unit, limit in limits.items() if limit is not None)
