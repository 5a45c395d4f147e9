"""A provider that trains models, and an optimizer that asks it to; also a program that is killed while it waits.

    python school.py FOLDER

runs one compile for each point at which it is killed, then again, and prints a line of JSON for each.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import dspex
from dspex.plugin import Capabilities, FineTuneSpec, FineTuneStatus, LMRequest, LMResponse

ROWS = ({"messages": [{"role": "user", "content": "n=1"}, {"role": "assistant", "content": "2"}]},)

DONE = FineTuneStatus("succeeded", "small-2", usd=3.0)


class School:
    """Trainings as lines of a file, so that they outlive a process; a job has ended when it is looked at for the `looks`th time.

    `before(what, number)` is awaited in each `start`, once the job stands in the file, and in each `status` and `cancel`.
    """

    capabilities = Capabilities(chat=True)

    def __init__(
        self,
        file: Path,
        before: Callable[[str, int], Awaitable[None]] | None = None,
        end: FineTuneStatus = DONE,
        looks: int = 3,
        cost: float | None = 5.0,
    ) -> None:
        self.file = file
        self.before = before
        self.end = end
        self.looks = looks
        self.cost = cost
        self.said: list[str] = []
        self.specs: list[FineTuneSpec] = []
        self.asked: list[str] = []

    def finetune_cost(self, spec: FineTuneSpec) -> float | None:
        return self.cost

    async def finetune_start(self, spec: FineTuneSpec) -> str:
        self.specs.append(spec)
        jobs = self.jobs()
        known = [name for name, key in jobs.items() if key == spec.key and self.end.state == "succeeded"]
        job = known[0] if known else f"job {len(jobs)}"
        if not known:
            with self.file.open("a") as file:
                file.write(f"{job}={spec.key}\n")
        await self._said("start")
        return job

    async def finetune_status(self, job: str) -> FineTuneStatus:
        await self._said("status")
        assert job in self.jobs()
        return FineTuneStatus("running") if self.said.count("status") < self.looks else self.end

    async def finetune_cancel(self, job: str) -> None:
        await self._said("cancel")

    async def complete(self, request: LMRequest) -> LMResponse:
        self.asked.append(request.model)
        number = int(request.messages[-1].text.partition("n=")[2].split()[0])
        right = request.model != "small" or number % 3 == 0
        return LMResponse.from_text(f"[[ ## answer ## ]]\n{2 * number if right else 0}\n\n[[ ## completed ## ]]")

    def jobs(self) -> dict[str, str]:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return dict(line.split("=") for line in lines)

    async def _said(self, what: str) -> None:
        self.said.append(what)
        if self.before is not None:
            await self.before(what, self.said.count(what))

    @property
    def lm(self) -> dspex.LM:
        return dspex.LM("house/small", provider=self, cache=False, num_retries=0, api_key="sk-never-in-a-file")


class Trains(dspex.Optimizer):
    """Trains the student's model, then scores student and result."""

    def __init__(self, usd: float | None = None, rows: Any = ROWS) -> None:
        self.metric = lambda example, prediction: example.answer == prediction.answer
        self.usd = usd
        self.rows = rows

    async def run(self, ctx: Any) -> dspex.Candidate:
        lm = ctx.program(ctx.student).lm or dspex.settings.lm
        await ctx.check_finetune(lm, usd=self.usd)
        made = await ctx.finetune(FineTuneSpec(self.rows, train_kwargs={"epochs": 2}), lm=lm, usd=self.usd)
        if isinstance(made, dspex.Failure):
            raise dspex.EvaluationError(made.error)
        tuned = ctx.consider(ctx.student.with_params({"self": {"lm": made}}), "trained")
        await ctx.evaluate_all([(ctx.student, ctx.val), (tuned, ctx.val)])
        return tuned  # type: ignore[no-any-return]  # it is what was given


def examples(count: int, start: int = 0) -> list[dspex.Example]:
    numbers = range(start, start + count)
    return [dspex.Example(question=f"n={n}", answer=str(2 * n)).with_inputs("question") for n in numbers]


async def compiled(school: School, **options: Any) -> Any:
    optimizer = options.pop("optimizer", None) or Trains()
    data = {"trainset": examples(4), "valset": examples(12, 100), "holdout": 0}
    with dspex.context(lm=school.lm):
        return await optimizer.acompile(dspex.Predict("question -> answer"), **{**data, **options})


def run_child(folder: Path, kill_at: tuple[str, int] | None) -> int:
    """A compile in a process of its own that kills itself there; its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:

        async def before(what: str, number: int) -> None:
            if (what, number) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        async def main() -> None:
            school = School(folder / "jobs", before, looks=2 if kill_at is None else 9)
            async with dspex.App(clock=Hurried()):
                program = await compiled(school, run_dir=folder / "run")
                program.save(folder / "program.json")
                (folder / "said.json").write_text(json.dumps([school.said, program.lm.model, len(school.asked)]))

        asyncio.run(main())
        os._exit(0)
    finally:
        os._exit(1)


class Hurried:
    """A clock whose waits are short."""

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


def main(folder: Path) -> None:
    for point in (("start", 1), ("status", 1), ("status", 3)):
        here = folder / "-".join(map(str, point))
        here.mkdir()
        killed, ended = run_child(here, point), run_child(here, None)
        said, model, asked = json.loads((here / "said.json").read_text())
        jobs = (here / "jobs").read_text().splitlines()
        told = {"point": point, "killed": killed, "ended": ended, "jobs": len(jobs), "said": said}
        sys.stdout.write(f"{json.dumps({**told, 'model': model, 'asked': asked})}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
