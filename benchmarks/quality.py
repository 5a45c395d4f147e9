"""What each optimizer makes of the embedded model on three tasks, with at most 300 calls a compile, on 100 test examples.

    python benchmarks/quality.py [--only optimize/topic/0 ...] [--folder runs/quality] [--results benchmarks/quality.json]
    python benchmarks/quality.py --table

A row is OPTIMIZER/TASK/SEED; without `--only` all are run, three seeds of `dspex.optimize` and of LabeledFewShot, which makes no
call, and one of each other optimizer. Needs all plugins. One row takes three to ten minutes of two cores. Killed and started again it repeats no finished call: a compile goes
on in its run folder, an evaluation in its own. Each finished row is written to the results at once; `--table` prints them:
accuracy with Wilson's interval, the gain over the program as it is, paired, and the calls, tokens and seconds of the compile.
"""

import argparse
import datetime
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import quality_tasks as tasks

import dspex
from dspex.testing import reset

MODEL = "llamacpp/gemma-3-270m"  # for all: it also writes the instructions
CALLS = 300
TASKS = ("topic", "date", "sentiment")
SEEDS = (0, 1, 2)
HERE = Path(__file__).parent


class Row(msgspec.Struct, frozen=True):
    """One compile and its test; `right` has a letter an example, 1 for a right answer, `before` those of the bare program."""

    name: str
    day: str
    accuracy: float
    zero_shot: float
    calls: int
    tokens: int
    seconds: float
    verdict: str
    label: str
    right: str
    before: str


def optimizers() -> dict[str, Callable[[], Any]]:
    """Each optimizer as it is compared: DSPy's defaults, but for numbers of candidates and steps that 300 calls do not allow."""
    metric = tasks.metric
    return {
        "LabeledFewShot": dspex.LabeledFewShot,
        "BootstrapFewShot": lambda: dspex.BootstrapFewShot(metric),
        "BootstrapRS": lambda: dspex.BootstrapRS(metric, num_candidate_programs=4),
        "KNNFewShot": lambda: dspex.KNNFewShot(4, [], metric=metric),
        "MIPROv2": lambda: dspex.MIPROv2(metric=metric, auto=None, num_candidates=4),
        "GEPA": lambda: dspex.GEPA(
            metric=feedback, max_metric_calls=260, reflection_lm=dspex.LM(MODEL, temperature=1.0)
        ),
        "COPRO": lambda: dspex.COPRO(metric=metric, breadth=4, depth=2),
        "SIMBA": lambda: dspex.SIMBA(metric=metric, bsize=12, num_candidates=3, max_steps=2),
        "InferRules": lambda: dspex.InferRules(metric=metric, num_candidates=4, num_rules=5),
        "BootstrapFewShotWithOptuna": lambda: dspex.BootstrapFewShotWithOptuna(metric, num_candidate_programs=5),
        "LabelCalibration": lambda: dspex.LabelCalibration(metric),
        "BetterTogether": lambda: dspex.BetterTogether(
            metric, p=dspex.BootstrapRS(metric, num_candidate_programs=2), c=dspex.LabelCalibration(metric)
        ),
        "BetterTogetherPrompts": lambda: dspex.BetterTogether(
            metric,
            i=dspex.COPRO(metric=metric, breadth=2, depth=1),
            p=dspex.BootstrapRS(metric, num_candidate_programs=1),
        ),
    }


ARGUMENTS: dict[str, dict[str, Any]] = {
    "MIPROv2": {"num_trials": 6, "minibatch": False},
    "COPRO": {"eval_kwargs": {}},
    "BetterTogether": {"strategy": "p -> c"},
    "BetterTogetherPrompts": {
        "strategy": "i -> p",
        "optimizer_compile_args": {"i": {"eval_kwargs": {}}},
        "keep": "best",
    },
}
FOR_LABELS = ("LabelCalibration/date", "BetterTogether/date/")  # both weigh labels, which dates are not


def feedback(
    example: dspex.Example, prediction: dspex.Prediction, _trace: Any = None, _name: Any = None, _steps: Any = None
) -> dspex.Prediction:
    """The metric in GEPA's form."""
    is_right = tasks.metric(example, prediction)
    [wanted] = example.labels().values()
    words = "Right." if is_right else f"Wrong: the answer is {wanted}."
    return dspex.Prediction(score=float(is_right), feedback=words)


def compiled(name: str, student: Any, data: tasks.Data, seed: int, run_dir: Path) -> Any:
    """The program that a row's optimizer makes."""
    where = {"run_dir": run_dir, "seed": seed}
    if name == "optimize":
        return dspex.optimize(student, data.train, tasks.metric, CALLS, valset=data.validation, **where)
    budget = dspex.Budget(calls=CALLS, on_short="stop")
    arguments = {**ARGUMENTS.get(name, {}), **where, "budget": budget}
    return optimizers()[name]().compile(student, trainset=data.train, valset=data.validation, **arguments)


def run(row: str, folder: Path) -> Row:
    """Compile and test one row; what was finished before is not repeated."""
    name, task, seed = row.split("/")
    data = tasks.data(task, int(seed), folder / "packages")
    own = folder / f"{name}-{task}-{seed}"
    student = tasks.program(task)
    began = time.monotonic()
    program = compiled(name, student, data, int(seed), own)
    before = tested(student, data, folder / f"zero-{task}-{seed}")
    after = tested(program, data, own.with_name(f"{own.name}-test"))
    state = program.dump_state()
    same = [one["label"] for one in program.candidate_programs if one["program"].dump_state() == state]
    return Row(
        row, datetime.datetime.now(datetime.UTC).date().isoformat(), 100 * after.count("1") / len(after),
        100 * before.count("1") / len(before), program.ledger.calls, program.ledger.tokens,
        round(program.ledger.seconds or time.monotonic() - began, 1), program.evidence.verdict, same[0] if same else "", after, before,
    )  # fmt: skip


def tested(program: Any, data: tasks.Data, run_dir: Path) -> str:
    """Right and wrong on the test examples, in their order."""
    result = dspex.Evaluate(devset=data.test, metric=tasks.metric, run_dir=run_dir)(program)
    return "".join("1" if score else "0" for _, _, score in result.results)


def table(rows: list[Row]) -> str:
    """All rows by optimizer and task, seeds pooled."""
    from dspex.core.clock import derived_rng
    from dspex.evaluate.statistics import paired_interval, wilson

    lines = [
        "| optimizer | task | seeds | accuracy | zero-shot | gain | calls | tokens | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, task in dict.fromkeys(tuple(row.name.split("/")[:2]) for row in rows):
        some = [row for row in rows if row.name.startswith(f"{name}/{task}/")]
        new = [float(one) for row in some for one in row.right]
        old = [float(one) for row in some for one in row.before]
        low, high = wilson(round(sum(new)), len(new))
        least, most = paired_interval(old, new, derived_rng(0, "quality"))
        count = len(some)
        lines.append(
            f"| {name} | {task} | {count} | {100 * sum(new) / len(new):.0f} [{100 * low:.0f}, {100 * high:.0f}] "
            f"| {100 * sum(old) / len(old):.0f} | {100 * (sum(new) - sum(old)) / len(new):+.0f} [{100 * least:+.0f}, {100 * most:+.0f}] "
            f"| {sum(r.calls for r in some) / count:.0f} | {sum(r.tokens for r in some) / count:,.0f} "
            f"| {sum(r.seconds for r in some) / count:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", metavar="OPTIMIZER/TASK/SEED")
    parser.add_argument("--folder", type=Path, default=Path("runs/quality"))
    parser.add_argument("--results", type=Path, default=HERE / "quality.json")
    parser.add_argument("--table", action="store_true", help="print what is known, and run nothing")
    asked = parser.parse_args()
    known = msgspec.json.decode(asked.results.read_bytes(), type=list[Row]) if asked.results.exists() else []
    every = [f"optimize/{task}/{seed}" for seed in SEEDS for task in TASKS]
    every += [f"LabeledFewShot/{task}/{seed}" for task in TASKS for seed in SEEDS]
    every += [f"{name}/{task}/0" for name in optimizers() for task in TASKS if name != "LabeledFewShot"]
    done = {row.name for row in known}
    for row in [] if asked.table else [one for one in asked.only or every if one not in done]:
        if row.startswith(FOR_LABELS):
            continue
        dspex.configure(lm=dspex.LM(MODEL, temperature=0.0))
        made = run(row, asked.folder)
        reset()
        known = sorted([*known, made], key=lambda one: every.index(one.name) if one.name in every else len(every))
        asked.results.write_bytes(msgspec.json.format(msgspec.json.encode(known)) + b"\n")
        print(
            f"{row}: {made.accuracy:.0f} after {made.zero_shot:.0f}, {made.calls} calls, {made.seconds:.0f} s; {made.label}"
        )
    print(table(known))


if __name__ == "__main__":
    main()
