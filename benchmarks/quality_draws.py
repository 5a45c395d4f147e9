"""What the draw of labelled demonstrations is worth: 16 at random, or each label in turn, on the tasks of `quality.py`.

    python benchmarks/quality_draws.py [--draws 4] [--folder runs/quality] [--results benchmarks/quality_draws.json]
    python benchmarks/quality_draws.py --table

Draw 0 at random is DSPy's own, `random.Random(0).sample(trainset, 16)`. No call is spent on choosing: each draw is tested as it comes,
on the 100 test examples of each of three seeds. A draw takes half a minute of two cores; what was finished is not repeated.
"""

import argparse
import random
import statistics
from pathlib import Path

import msgspec
import quality_tasks as tasks
from quality import HERE, MODEL, SEEDS, tested

import dspex
from dspex.testing import reset
from dspex_optimizers.labeled import in_turn

COUNT = 16
KINDS = {
    "sentiment": ("at random", "in turn"),
    "topic": ("at random", "in turn"),
    "date": ("at random",),
}  # dates have no labels


class Draw(msgspec.Struct, frozen=True):
    """One draw and its test; `name` is TASK/SEED/KIND/DRAW, `right` has a letter an example, `last` the labels in order."""

    name: str
    accuracy: float
    labels: list[str]
    right: str


def drawn(kind: str, draw: int, train: list[dspex.Example]) -> list[dspex.Example]:
    """The demonstrations."""
    order = random.Random(draw).sample(train, COUNT if kind == "at random" else len(train))
    [wanted] = train[0].labels().keys()
    return order if kind == "at random" else [order[at] for at in in_turn([one[wanted] for one in order])][:COUNT]


def run(name: str, folder: Path) -> Draw:
    """Test one draw."""
    task, seed, kind, draw = name.split("/")
    data, program = tasks.data(task, int(seed), folder / "packages"), tasks.program(task)
    program.demos = drawn(kind, int(draw), data.train)
    [wanted] = data.train[0].labels().keys()
    right = tested(program, data, folder / f"draw-{name.replace('/', '-').replace(' ', '-')}")
    return Draw(name, 100 * right.count("1") / len(right), [one[wanted] for one in program.demos], right)


def table(draws: list[Draw]) -> str:
    """Draws of a kind pooled over seeds: the mean, and how far apart single draws are."""
    lines = ["| task | draw | draws | mean | worst | best | sd |", "|---|---|---|---|---|---|---|"]
    for task, kind in dict.fromkeys((one.name.split("/")[0], one.name.split("/")[2]) for one in draws):
        some = [one.accuracy for one in draws if one.name.startswith(f"{task}/") and f"/{kind}/" in one.name]
        spread = statistics.stdev(some) if len(some) > 1 else 0.0
        lines.append(
            f"| {task} | {kind} | {len(some)} | {statistics.mean(some):.1f} | {min(some):.0f} | {max(some):.0f} | {spread:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=Path("runs/quality"))
    parser.add_argument("--results", type=Path, default=HERE / "quality_draws.json")
    parser.add_argument("--table", action="store_true", help="print what is known, and run nothing")
    asked = parser.parse_args()
    known = msgspec.json.decode(asked.results.read_bytes(), type=list[Draw]) if asked.results.exists() else []
    every = [
        f"{task}/{seed}/{kind}/{draw}"
        for draw in range(asked.draws)
        for seed in SEEDS
        for task, kinds in KINDS.items()
        for kind in kinds
    ]
    done = {one.name for one in known}
    for name in [] if asked.table else [one for one in every if one not in done]:
        dspex.configure(lm=dspex.LM(MODEL, temperature=0.0))
        known.append(run(name, asked.folder))
        reset()
        known.sort(key=lambda one: one.name)
        asked.results.write_bytes(msgspec.json.format(msgspec.json.encode(known)) + b"\n")
        print(f"{name}: {next(one.accuracy for one in known if one.name == name):.0f}", flush=True)
    print(table(known))


if __name__ == "__main__":
    main()
