"""The demo's study, in the public API only: search on the validation examples, judge on examples that nobody saw."""

import time
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

import dspex
from dspex_demo.tasks import Data, Task

SETS, DEMOS = 5, 8
TICK_S = 0.1
STEADY_CALLS = 5  # before that, loading the model would be taken for the speed of calls
ENDED = frozenset({"done", "failed", "cancelled"})
PHASES = MappingProxyType({"bootstrap": "draw demos", "evidence": "judge"})


class Now(msgspec.Struct, frozen=True):
    """How far the study is: `calls` of `planned`, `reused` ones included; `best` is a mean score with its interval, 0..1."""

    phase: str
    calls: int
    planned: int
    tokens: int = 0
    reused: int = 0
    best: tuple[float, float, float] | None = None
    left_s: float | None = None


Watch = Callable[[Now], None]


class Outcome(msgspec.Struct, frozen=True):
    """What the study found. `results` are on the test examples, by program: "zero-shot", "first demo set", "optimised"."""

    student: dspex.Predict
    program: Any
    results: dict[str, dspex.EvaluationResult]
    gains: dict[str, dspex.Comparison]
    evidence: Any
    calls: int
    reused: int
    lost: int
    tokens: int
    seconds: float
    saved: Path
    run_dir: Path


def study(
    task: Task, data: Data, lm: dspex.LM, run_dir: Path, watch: Watch, *, sets: int = SETS, demos: int = DEMOS
) -> Outcome:
    """Optimise the task's program and compare it with what it began as.

    The search is a job with a journal in `run_dir`, and the judging has journals below it: killed anywhere, the same call
    goes on and repeats no finished call. KeyboardInterrupt leaves the run as a kill would.
    """
    began = time.monotonic()
    student = task.program()
    search = dspex.BootstrapFewShotWithRandomSearch(
        task.metric, max_bootstrapped_demos=0, max_labeled_demos=demos, num_candidate_programs=sets, race_z=None
    )
    planned = sets * len(data.validation) + 3 * len(data.test)
    with dspex.context(lm=lm), dspex.track_usage() as usage:
        job = search.start(
            student,
            trainset=data.train,
            valset=data.validation,
            holdout=data.test,
            restrict=range(sets),
            run_dir=run_dir,
        )
        program: Any = watched(job, watch, planned)
        first = next(one["program"] for one in program.candidate_programs if one["seed"] == 0)
        before = usage.total
        programs = {"zero-shot": student, "first demo set": first, "optimised": program}
        judge = dspex.Evaluate(data.test, Telling(task, watch, program.ledger, usage, planned))
        results = {
            name: judge(one, run_dir=run_dir / "judged" / name.replace(" ", "-")) for name, one in programs.items()
        }
        after = usage.total
    saved = run_dir / "program.json"
    program.save(saved)
    ledger = program.ledger
    paid = ledger.paid + after.calls - before.calls
    # Judging student and winner again asks for nothing new: the job's evidence has made these calls, and the cache has them.
    asked = max(paid, ledger.calls + (0 if first.demos == program.demos else len(data.test)))
    return Outcome(
        student=student,
        program=program,
        results=results,
        gains={
            "having demos": dspex.compare(results["zero-shot"], results["first demo set"]),
            "search on top": dspex.compare(results["first demo set"], results["optimised"]),
            "both": dspex.compare(results["zero-shot"], results["optimised"]),
        },
        evidence=program.evidence,
        calls=asked,
        reused=asked - paid,
        lost=ledger.lost,
        tokens=ledger.tokens + sum(row.usage.total_tokens for row in results["first demo set"].rows),
        seconds=time.monotonic() - began,
        saved=saved,
        run_dir=run_dir,
    )


def watched(job: dspex.Job, watch: Watch, planned: int) -> Any:
    """The job's program, with its progress told ten times a second; Ctrl-C ends the job with its journal whole."""
    began = None
    try:
        while job.status not in ENDED:
            progress = job.progress
            if began is None and progress.spent.paid:
                began = time.monotonic()
            watch(seen(progress, planned, time.monotonic() - (began or time.monotonic())))
            time.sleep(TICK_S)
        return job.result()
    except KeyboardInterrupt:
        job.abort()
        raise


class Telling:
    """A task's metric that tells how far the judging is that comes after the search; its identity is the task's."""

    def __init__(self, task: Task, watch: Watch, ledger: Any, usage: dspex.UsageTracker, planned: int) -> None:
        self.identity = ["right to the letter", task.wanted]
        self._task, self._watch, self._ledger = task, watch, ledger
        self._usage, self._before, self._planned = usage, usage.total, planned

    def __call__(self, example: dspex.Example, prediction: dspex.Prediction, trace: object = None) -> bool:
        now, before, ledger = self._usage.total, self._before, self._ledger
        calls, tokens = now.calls - before.calls, now.total_tokens - before.total_tokens
        reused = ledger.reused + ledger.cached
        self._watch(Now("judge the first set", ledger.calls + calls, self._planned, ledger.tokens + tokens, reused))
        return self._task.metric(example, prediction, trace)


def seen(progress: Any, planned: int, seconds: float) -> Now:
    """A job's progress as the demo shows it; the time left goes by the calls that took these seconds, not by reused ones."""
    spent = progress.spent
    best = None if progress.best is None else (progress.best, progress.low, progress.high)
    left = seconds / spent.paid * (planned - spent.calls) if spent.paid >= STEADY_CALLS else None
    phase = PHASES.get(progress.phase, progress.phase) if spent.calls else "load the model"
    return Now(phase, spent.calls, planned, spent.tokens, spent.reused + spent.cached, best, left)
