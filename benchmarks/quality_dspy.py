"""DSPy's optimizers on the rows of `quality.py`: the same model, examples, metric and form of prompt, so that tests are paired.

    python benchmarks/quality_dspy.py --dspy PYTHON [--only LabeledFewShot/topic/0 ...] [--results benchmarks/quality_dspy.json]
    python benchmarks/quality_dspy.py --table

`PYTHON` is the interpreter of an environment that has dspy 3.4.1 and optuna. It runs `quality_dspy_side.py`, which has no model of its own:
each of its calls goes through a pipe to the embedded one here. DSPy has no wall at 300 calls, so numbers of candidates are those of
`quality.py` and the calls are told. Its KNNFewShot makes five calls an answer, so those rows were tested on fewer (`--tests 30`).
`--table` sets the rows beside those of `quality.json`: the gain of dspex over DSPy on the same test examples, with its paired
interval and McNemar's test.
"""

import argparse
import datetime
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import quality_tasks as tasks
from quality import HERE, MODEL, SEEDS, TASKS, Row

import dspex

SIDE = HERE / "quality_dspy_side.py"
COMPARED = ("LabeledFewShot", "BootstrapFewShot", "BootstrapRS", "KNNFewShot", "MIPROv2", "GEPA", "COPRO", "SIMBA", "InferRules", "BootstrapFewShotWithOptuna", "BetterTogetherPrompts")  # fmt: skip


def task_of(row: str, folder: Path, before: str | None) -> dict[str, Any]:
    """All that the other side needs to know of a row; `before` are the bare program's answers where another row has them."""
    name, task, seed = row.split("/")
    data, student = tasks.data(task, int(seed), folder / "packages"), tasks.program(task)
    [given], [wanted] = data.train[0].inputs().keys(), data.train[0].labels().keys()
    grammar = student.config.get("grammar")
    return {
        "optimizer": name, "given": given, "wanted": wanted, "instructions": student.signature.instructions,
        "choices": None if grammar else get_args(student.signature.output_fields[wanted].annotation), "grammar": grammar,
        "max_tokens": student.config["max_tokens"], "seed": int(seed), "before": before,
        **{part: [[one[given], one[wanted]] for one in getattr(data, part)] for part in data._fields},
    }  # fmt: skip


def run(row: str, python: str, folder: Path, before: str | None, tests: int = tasks.TEST) -> tuple[Row, dict[str, Any]]:
    """Compile and test one row on the other side; its calls are answered here. The row, and what the program became."""
    drawn, certain = dspex.LM(MODEL, cache=False), dspex.LM(MODEL)  # what was answered for certain is not asked again
    nearness = dspex.NearestDemos(1).vectorizer
    began = time.monotonic()
    calls = tokens = 0
    seconds = 0.0

    def answer(said: dict[str, Any]) -> Any:
        nonlocal calls, tokens, seconds
        if "embed" in said:
            return nearness(said["embed"])
        if "compiled" in said:
            seconds = time.monotonic() - began
            return None
        with dspex.track_usage() as used:
            texts = (drawn if said["temperature"] else certain)(said.pop("prompt"), **said)
        if not seconds:
            calls, tokens = calls + 1, tokens + used.total.total_tokens
        return texts

    task = task_of(row, folder, before)
    said = other_side(python, {**task, "test": task["test"][:tests]}, answer)
    right, before = said["right"], said["before"]
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    accuracy, zero_shot = (100 * one.count("1") / len(one) for one in (right, before))
    made = Row(row, day, accuracy, zero_shot, calls, tokens, round(seconds, 1), "", "", right, before)
    return made, said["state"]


def other_side(python: str, task: dict[str, Any], answer: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Have DSPy's side do a task, answering each of its lines but the last, which is its result."""
    with subprocess.Popen([python, str(SIDE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as side:
        assert side.stdin is not None
        assert side.stdout is not None
        print(json.dumps(task), file=side.stdin, flush=True)
        for line in side.stdout:
            said: dict[str, Any] = json.loads(line)
            if "right" in said:
                return said
            print(json.dumps(answer(said)), file=side.stdin, flush=True)
    raise SystemExit(f"{task['optimizer']}: DSPy's side ended without a result.")


def table(theirs: list[Row], ours: list[Row]) -> str:
    """Rows that both have, seeds pooled."""
    from dspex.core.clock import derived_rng
    from dspex.evaluate.statistics import mcnemar_midp, paired_interval

    own = {row.name: row for row in ours}
    both = [row for row in theirs if row.name in own]
    lines = [
        "| optimizer | task | seeds | tests | dspex | DSPy | dspex over DSPy | p | calls | DSPy's calls |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, task in dict.fromkeys(tuple(row.name.split("/")[:2]) for row in both):
        old = [row for row in both if row.name.startswith(f"{name}/{task}/")]
        new = [own[row.name] for row in old]
        # A row that was tested on fewer is compared on those.
        each = [pair for x, y in zip(old, new, strict=True) for pair in zip(x.right, y.right, strict=False)]
        a, b = ([float(one) for one in part] for part in zip(*each, strict=True))
        low, high = paired_interval(a, b, derived_rng(0, "quality"))
        wins, losses = (sum(x > y for x, y in zip(*pair, strict=True)) for pair in ((b, a), (a, b)))
        lines.append(
            f"| {name} | {task} | {len(old)} | {len(each)} | {100 * sum(b) / len(b):.0f} | {100 * sum(a) / len(a):.0f} "
            f"| {100 * (sum(b) - sum(a)) / len(a):+.0f} [{100 * low:+.0f}, {100 * high:+.0f}] | {mcnemar_midp(wins, losses):.2f} "
            f"| {sum(r.calls for r in new) / len(new):.0f} | {sum(r.calls for r in old) / len(old):.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dspy", metavar="PYTHON", help="an interpreter that has dspy and optuna")
    parser.add_argument("--only", nargs="*", metavar="OPTIMIZER/TASK/SEED")
    parser.add_argument("--tests", type=int, default=tasks.TEST, help="only so many of the test examples")
    parser.add_argument("--folder", type=Path, default=Path("runs/quality"))
    parser.add_argument("--results", type=Path, default=HERE / "quality_dspy.json")
    parser.add_argument("--beside", type=Path, default=HERE / "quality.json", help="the results of quality.py")
    parser.add_argument("--table", action="store_true", help="print what is known, and run nothing")
    asked = parser.parse_args()
    known = msgspec.json.decode(asked.results.read_bytes(), type=list[Row]) if asked.results.exists() else []
    every = [
        f"{name}/{task}/{seed}"
        for name in COMPARED
        for task in TASKS
        for seed in (SEEDS if name == COMPARED[0] else SEEDS[:1])
    ]
    done = {row.name for row in known}
    for row in [] if asked.table else [one for one in asked.only or every if one not in done]:
        bare = next((one.before for one in known if one.name.split("/")[1:] == row.split("/")[1:]), None)
        made, state = run(row, asked.dspy, asked.folder, bare, asked.tests)
        asked.folder.mkdir(parents=True, exist_ok=True)
        (asked.folder / f"dspy-{row.replace('/', '-')}.json").write_text(json.dumps(state, indent=1))
        known = sorted([*known, made], key=lambda one: every.index(one.name) if one.name in every else len(every))
        asked.results.write_bytes(msgspec.json.format(msgspec.json.encode(known)) + b"\n")
        print(
            f"{row}: {made.accuracy:.0f} after {made.zero_shot:.0f}, {made.calls} calls, {made.seconds:.0f} s",
            flush=True,
        )
    print(table(known, msgspec.json.decode(asked.beside.read_bytes(), type=list[Row])))


if __name__ == "__main__":
    main()
