"""A provider that answers in batches, and a search whose calls go out by them; also a program that is killed while it waits.

    python mailroom.py FOLDER

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
from dspex.plugin import BatchSpec, BatchStatus, LMRequest, LMResponse, Usage


class Mailroom:
    """Batches as files of a folder, so that they outlive a process; one has ended when it is looked at for the `looks`th time.

    `before(what, number)` is awaited in each `start`, once the batch is taken, in each `status`, and in `results`.
    """

    def __init__(
        self, folder: Path, before: Callable[[str, int], Awaitable[None]] | None = None, looks: int = 2
    ) -> None:
        self.folder = folder
        self.before = before
        self.looks = looks
        self.said: list[str] = []

    async def complete(self, request: LMRequest) -> LMResponse:
        raise AssertionError("all calls of this model are dispatched in batches")

    async def batch_start(self, spec: BatchSpec) -> str:
        batch = self.folder / f"{spec.key}.json"
        if not batch.exists():
            texts = {name: request.messages[-1].text for name, request in spec.requests.items()}
            batch.write_text(json.dumps(texts))
        await self._said("start")
        return spec.key

    async def batch_status(self, batch: str) -> BatchStatus:
        await self._said("status")
        assert (self.folder / f"{batch}.json").exists()
        return BatchStatus("running" if self.said.count("status") < self.looks else "ended")

    async def batch_results(self, batch: str) -> dict[str, LMResponse]:
        await self._said("results")
        texts = json.loads((self.folder / f"{batch}.json").read_text())
        return {name: self._reply(text) for name, text in texts.items()}

    async def batch_cancel(self, batch: str) -> None:
        await self._said("cancel")

    @staticmethod
    def _reply(text: str) -> LMResponse:
        number = int(text.rpartition("n=")[2].split()[0])
        answer = 2 * number if number % 3 else 0
        return LMResponse.from_text(f"[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]", Usage(10, 5))

    def batches(self) -> list[int]:
        """How many requests each batch has."""
        return sorted(len(json.loads(path.read_text())) for path in self.folder.glob("*.json"))

    async def _said(self, what: str) -> None:
        self.said.append(what)
        if self.before is not None:
            await self.before(what, self.said.count(what))

    @property
    def lm(self) -> dspex.LM:
        return dspex.LM("house/small", provider=self, cache=False, dispatch="batch")


class TwoWaves(dspex.Optimizer):
    """Scores the student, then it and three sets of demonstrations at once."""

    def __init__(self) -> None:
        self.metric = lambda example, prediction, trace=None: example.answer == prediction.answer

    async def run(self, ctx: Any) -> dspex.Candidate:
        await ctx.evaluate(ctx.student, ctx.val)
        demos = [dspex.Demo(one.toDict(), origin=ctx.key_of(one)) for one in ctx.train]
        sets = [ctx.student.with_demos({"self": tuple(demos[:size])}) for size in (1, 2, 3)]
        candidates = [ctx.consider(one, f"{size} demos") for size, one in enumerate(sets, 1)]
        await ctx.evaluate_all([(one, ctx.val) for one in candidates])
        return candidates[1]


def examples(count: int, start: int = 0) -> list[dspex.Example]:
    numbers = range(start, start + count)
    return [dspex.Example(question=f"n={n}", answer=str(2 * n)).with_inputs("question") for n in numbers]


async def compiled(room: Mailroom, **options: Any) -> Any:
    data = {"trainset": examples(4), "valset": examples(12, 100), "holdout": 0}
    with dspex.context(lm=room.lm):
        return await TwoWaves().acompile(dspex.Predict("question -> answer"), **{**data, **options})


class Hurried:
    """A clock whose waits are short."""

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


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
            room = Mailroom(folder / "batches", before)
            async with dspex.App(clock=Hurried()):
                program = await compiled(room, run_dir=folder / "run")
                program.save(folder / "program.json")
                ledger = program.ledger
                told = [room.said, room.batches(), ledger.calls, ledger.lost, ledger.paid + ledger.paid_before]
                (folder / "said.json").write_text(json.dumps(told))

        asyncio.run(main())
        os._exit(0)
    finally:
        os._exit(1)


def main(folder: Path) -> None:
    for point in (("never", 0), ("start", 1), ("status", 1), ("results", 1), ("start", 2), ("status", 3)):
        here = folder / "-".join(map(str, point))
        (here / "batches").mkdir(parents=True)
        killed, ended = run_child(here, point), run_child(here, None)
        said, batches, calls, lost, paid = json.loads((here / "said.json").read_text())
        told = {"point": point, "killed": killed, "ended": ended, "said": said, "batches": batches, "calls": calls}
        program = (here / "program.json").read_text()
        sys.stdout.write(f"{json.dumps({**told, 'lost': lost, 'paid': paid, 'program': program})}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
