"""The demo's study, in the public API only: search on the validation examples, judge on examples that nobody saw."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

import dspex
from dspex_demo.tasks import Data, Task

SETS, DEMOS = 6, 8
TICK_S = 0.1

Watch = Callable[[str, int, int | None, str], None]  # phase, done, of how many, the rest in words


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


def study(task: Task, data: Data, lm: dspex.LM, run_dir: Path, watch: Watch, sets: int = SETS, demos: int = DEMOS) -> Outcome:
    """Optimise the task's program and compare it with what it began as.

    The search is a job with a journal in `run_dir`, and every reply is in the cache: killed anywhere, the same call goes
    on and repeats no finished call. KeyboardInterrupt leaves the run as a kill would.
    """
    began = time.monotonic()
    student = task.program()
    search = dspex.BootstrapFewShotWithRandomSearch(
        task.metric, max_bootstrapped_demos=0, max_labeled_demos=demos, num_candidate_programs=sets, race_z=None
    )
    with dspex.context(lm=lm), dspex.track_usage() as usage:
        job = search.start(
            student,
            trainset=data.train,
            valset=data.validation,
            holdout=data.test,
            restrict=range(sets),
            run_dir=run_dir,
        )
        program: Any = watched(job, watch)
        first = next(one["program"] for one in program.candidate_programs if one["seed"] == 0)
        before = usage.total
        programs = {"zero-shot": student, "first demo set": first, "optimised": program}
        results = {}
        for name, one in programs.items():
            watch(f"{name} on the test examples", 0, None, "")
            results[name] = dspex.Evaluate(data.test, task.metric)(one)
        after = usage.total
    saved = run_dir / "program.json"
    program.save(saved)
    ledger = program.ledger
    # Judging student and winner again asks for nothing new: the job's evidence has made these calls.
    asked = ledger.calls + (0 if first.demos == program.demos else len(data.test))
    paid = ledger.paid + after.calls - before.calls
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
        tokens=ledger.tokens + after.total_tokens - before.total_tokens,
        seconds=time.monotonic() - began,
        saved=saved,
        run_dir=run_dir,
    )


def watched(job: dspex.Job, watch: Watch) -> Any:
    """The job's program, with its progress told ten times a second; Ctrl-C ends the job with its journal whole."""
    try:
        while job.status not in ("done", "failed", "cancelled"):
            now = job.progress
            score = "" if now.best is None else f"best so far {100 * now.best:.0f} % [{100 * now.low:.0f}, {100 * now.high:.0f}]"
            spent = now.spent
            reused = f", {spent.reused} reused" if spent.reused else ""
            words = [score, f"{spent.calls} calls{reused}", f"{spent.tokens:,} tokens"]
            watch(now.phase, now.done, now.total, ", ".join(word for word in words if word))
            time.sleep(TICK_S)
        return job.result()
    except KeyboardInterrupt:
        job.abort()
        raise
