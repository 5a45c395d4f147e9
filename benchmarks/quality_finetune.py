"""What BootstrapFinetune would have a model trained on, by dspex and by DSPy 3.4.1: one program, trainset and model.

    python benchmarks/quality_finetune.py --dspy PYTHON

The embedded model cannot be trained, so both trainings are recorded and give back the same model. The program shows four
examples that are not of the trainset, and teaches itself; DSPy's side is answered from the cache that dspex's runs have filled.
Rows are written by each side's ChatAdapter. Its system message and the reminder behind the question are worded otherwise, and DSPy's
replies end with a newline; all else is compared to the byte.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import quality_tasks as tasks
from quality import MODEL, TASKS
from quality_dspy import other_side, task_of

import dspex
from dspex.plugin import FineTuneSpec, FineTuneStatus

SHOWN = 4


class Recorder:
    """A provider that answers as the one inside it, and trains by writing down what it was given."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.capabilities = inner.capabilities
        self.spec: FineTuneSpec | None = None
        self.asked = 0

    async def complete(self, request: Any) -> Any:
        self.asked += 1
        return await self.inner.complete(request)

    async def finetune_start(self, spec: FineTuneSpec) -> str:
        self.spec = spec
        return spec.key

    async def finetune_status(self, _job: str) -> FineTuneStatus:
        return FineTuneStatus("succeeded", model=MODEL.partition("/")[2], usd=0.0)

    async def finetune_cancel(self, _job: str) -> None:
        """Nothing goes on."""


def ours(lm: dspex.LM, task: str, data: tasks.Data, exclude_demos: bool) -> list[dict[str, Any]]:
    """The rows that dspex has trained."""
    student = tasks.program(task)
    student.set_lm(lm)
    student.demos = data.validation[:SHOWN]
    optimizer = dspex.BootstrapFinetune(tasks.metric, adapter=dspex.ChatAdapter(), exclude_demos=exclude_demos)
    with tempfile.TemporaryDirectory() as folder:
        optimizer.compile(student, data.train, run_dir=folder)
    recorder: Recorder = lm.service.provider
    assert recorder.spec is not None
    return list(recorder.spec.rows)


def theirs(lm: dspex.LM, python: str, task: str, folder: Path, exclude_demos: bool) -> tuple[list[dict[str, Any]], int]:
    """The rows that DSPy has trained, and how many of its calls dspex had not made."""
    rows: list[dict[str, Any]] = []
    before = lm.service.provider.asked

    def answer(said: dict[str, Any]) -> Any:
        if "prompt" in said:
            return lm(said.pop("prompt"), **said)
        rows.extend(said.get("rows", ()))
        return None

    given = task_of(f"BootstrapFinetune/{task}/0", folder, None)
    other_side(python, {**given, "test": [], "shown": SHOWN, "exclude_demos": exclude_demos}, answer)
    return rows, lm.service.provider.asked - before


def content(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """What a row teaches: its turns without the system message's words and the reminder that ends the question."""
    *shown, asked, learned = ((turn["role"], turn["content"].strip()) for turn in row["messages"][1:])
    return (*shown, (asked[0], asked[1].rpartition("\n\n")[0]), learned)


def table(rows: list[tuple[str, bool, list[dict[str, Any]], list[dict[str, Any]], int]]) -> str:
    """One line a task and a form of its rows."""
    lines = ["| task | demonstrations in rows | runs that pass, of 64 | DSPy's | rows that both have | in the same place | calls answered anew |", "|---|---|---|---|---|---|---|"]  # fmt: skip
    for task, is_bare, own, other, fresh in rows:
        a, b = [content(row) for row in own], [content(row) for row in other]
        same = (Counter(a) & Counter(b)).total()
        places = sum(x == y for x, y in zip(a, b, strict=False))
        lines.append(f"| {task} | {0 if is_bare else SHOWN} | {len(a)} | {len(b)} | {same} | {places} | {fresh} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dspy", metavar="PYTHON", required=True, help="an interpreter that has dspy and optuna")
    parser.add_argument("--folder", type=Path, default=Path("runs/quality"))
    asked = parser.parse_args()
    lm = dspex.LM(MODEL, provider=Recorder(dspex.LM(MODEL).service.provider), temperature=0.0)
    rows = []
    for task in TASKS:
        data = tasks.data(task, 0, asked.folder / "packages")
        for is_bare in (False, True):
            own = ours(lm, task, data, is_bare)
            rows.append((task, is_bare, own, *theirs(lm, asked.dspy, task, asked.folder, is_bare)))
    print(table(rows))


if __name__ == "__main__":
    main()
