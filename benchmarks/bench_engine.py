"""What the engine costs: an append, an evaluation besides the program's own, a resume; and what kills leave.

    python benchmarks/bench_engine.py [--steps 10000] [--kills 60]

Prints a line of JSON: microseconds of processor time for an append, for the program and its metric alone, and for what the
engine adds to an evaluation (the least of some rounds); seconds for what comes after the search, and for a resume. With --kills it runs tests/engine/lab.py, which kills that many compiles at random calls and resumes them, in
two processes side by side, and says how many gave the same bytes and how many calls were made twice.
"""

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dspex
from dspex.plugin import Capabilities, LMRequest, LMResponse
from dspex.runtime.journal import FORMAT, Journal
from dspex.runtime.records import Call, Run
from dspex.runtime.scope import use

LAB = Path(__file__).parents[1] / "tests" / "engine" / "lab.py"
REPLY = LMResponse.from_text("[[ ## answer ## ]]\n4\n\n[[ ## completed ## ]]", dspex.Usage(100, 5))
LIMITS = {"append_us": 20.0, "evaluation_us": 60.0, "resume_s": 2.0}


class Model:
    """Answers at once."""

    capabilities = Capabilities(chat=True)

    async def complete(self, request: LMRequest) -> LMResponse:
        return REPLY


class Once(dspex.Optimizer):
    """Evaluates the student on all examples."""

    def __init__(self, metric: Any) -> None:
        self.metric = metric
        self._ended = 0.0

    async def run(self, ctx: Any) -> dspex.Candidate:
        await ctx.evaluate(ctx.student, ctx.train)
        self._ended = time.process_time()
        student: dspex.Candidate = ctx.student
        return student


def exact(example: dspex.Example, prediction: dspex.Prediction) -> bool:
    """Whether the answer is right."""
    return bool(example.answer == prediction.answer)


def append_us(folder: Path, rounds: int = 5, count: int = 5_000) -> float:
    """Microseconds of processor time for a call's record."""
    journal = Journal(folder)
    journal.append(Run(FORMAT, "bench", {}))
    record = Call("k" * 32, "s" * 32, REPLY, 0.25)
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(count):
            journal.append(record)
        best = min(best, time.process_time() - began)
    journal.close()
    return best / count * 1e6


async def plain_s(program: dspex.Module, data: Sequence[dspex.Example]) -> float:
    """Seconds of processor time for the program and the metric alone, traced as in a compile."""
    began = time.process_time()
    for example in data:
        with use(trace=None):
            exact(example, await program.acall(question=example.question))
    return time.process_time() - began


async def engine_s(folder: Path, program: dspex.Module, data: Sequence[dspex.Example]) -> tuple[float, float, float]:
    """Processor time of the same under the engine, journal included, and of what comes after; time of the clock for all."""
    gc.collect()
    began, clock, optimizer = time.process_time(), time.perf_counter(), Once(exact)
    await optimizer.acompile(program, trainset=list(data), holdout=0, run_dir=folder)
    return optimizer._ended - began, time.process_time() - optimizer._ended, time.perf_counter() - clock


async def measured(folder: Path, steps: int) -> dict[str, float]:
    """All figures."""
    data = [dspex.Example(question=f"n={n}", answer="4").with_inputs("question") for n in range(steps)]
    program = dspex.Predict("question -> answer")
    lm = dspex.LM("bench", provider=Model(), cache=False)
    async with dspex.App():
        with dspex.context(lm=lm, disable_history=True):
            await plain_s(program, data)
            plain = min([await plain_s(program, data) for _ in range(5)])
            rounds = [await engine_s(folder / f"run-{n}", program, data) for n in range(5)]
            *_, resume = await engine_s(folder / "run-0", program, data)
    whole, after = min(one[0] for one in rounds), min(one[1] for one in rounds)
    return {
        "append_us": append_us(folder / "append"),
        "plain_us": plain / steps * 1e6,
        "evaluation_us": (whole - plain) / steps * 1e6,
        "after_s": after,
        "resume_s": resume,
    }


def killed(folder: Path, kills: int) -> dict[str, int]:
    """What became of that many killed compiles."""
    halves = [(folder / "first", kills - kills // 2), (folder / "second", kills // 2)]
    children = []
    for seed, (place, count) in enumerate(halves):
        place.mkdir()
        command = [sys.executable, str(LAB), str(place), str(count), str(seed)]
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    rows = [json.loads(line) for child in children for line in child.communicate()[0].splitlines()]
    return {
        "kills": len(rows),
        "same_bytes": sum(row["same"] for row in rows),
        "most_repeated": max(row["repeated"] - bool(row["torn"]) for row in rows),
    }


def main() -> None:
    """Measure, print, and fail if a figure is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found: dict[str, Any] = asyncio.run(measured(Path(name), options.steps))
        found = {name: round(value, 2) for name, value in found.items()}
        if options.kills:
            found |= killed(Path(name), options.kills)
    sys.stdout.write(f"{json.dumps(found)}\n")
    missed = [name for name, limit in LIMITS.items() if found[name] > limit]
    if options.kills and (found["same_bytes"] != found["kills"] or found["most_repeated"] > 8):
        missed.append("kills")
    sys.exit(f"Above its limit: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
