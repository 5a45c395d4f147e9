"""A small search and a model without a model, for tests of the engine; also a program that is killed again and again.

    python lab.py FOLDER KILLS SEED

runs one compile whole, then KILLS compiles that are each killed at a random call (every other one with a torn last line) and
run again, and prints a line of JSON for each.
"""

import asyncio
import gc
import hashlib
import json
import os
import random
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dspex
from dspex.plugin import Capabilities, LMRequest, LMResponse


class Model:
    """A provider whose reply follows from the request: the more demos, the more often it is right.

    `before(number, text)` is awaited in each call and may wait, fail or kill; `prompts` keeps what was asked.
    """

    capabilities = Capabilities(chat=True)

    def __init__(self, before: Callable[[int, str], Awaitable[None]] | None = None) -> None:
        self.before = before
        self.prompts: list[str] = []
        self.in_flight = self.most = 0

    async def complete(self, request: LMRequest) -> LMResponse:
        text = "\n".join(message.text for message in request.messages)
        text += f"\n{dict(request.params)}"
        self.prompts.append(text)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            if self.before is not None:
                await self.before(len(self.prompts), text)
        finally:
            self.in_flight -= 1
        draw = hashlib.blake2b(text.encode(), digest_size=2).digest()[0]
        number = int(re.findall(r"n=(\d+)", request.messages[-1].text)[-1])
        right = draw < 60 + 30 * (len(request.messages) // 2)
        answer = number * 2 if right else 0
        return LMResponse.from_text(f"[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]", dspex.Usage(len(text), 5))

    @property
    def lm(self) -> dspex.LM:
        """A handle without cache and retries."""
        return dspex.LM("lab", provider=self, cache=False, num_retries=0)


def examples(count: int, start: int = 0) -> list[dspex.Example]:
    """Questions whose answers are twice their number."""
    numbers = range(start, start + count)
    return [dspex.Example(question=f"n={n}", answer=str(2 * n)).with_inputs("question") for n in numbers]


def right(example: dspex.Example, prediction: dspex.Prediction, trace: Any = None) -> bool:
    """Whether the answer is right."""
    return bool(example.answer == prediction.answer)


class Search(dspex.Optimizer):
    """Bootstraps some sets of demos side by side, in several steps each, and races them with the student."""

    compile_arguments = MappingProxyType({"sets": 4})

    def __init__(
        self, metric: Any = right, want: int = 2, metric_threshold: float | None = None, z: float = 1.64
    ) -> None:
        self.metric = metric
        self.want = want
        self.metric_threshold = metric_threshold
        self.z = z

    async def run(self, ctx: Any) -> dspex.Candidate:
        async with ctx.phase("demos"):
            made = await ctx.gather(*(self.one(ctx, seed) for seed in range(ctx.arguments["sets"])))
        async with ctx.phase("race", total=len(ctx.val) * (len(made) + 1)):
            race = await ctx.race([ctx.consider(ctx.student, "student"), *made], ctx.val, z=self.z)
        winner: dspex.Candidate = race.winner
        return winner

    async def one(self, ctx: Any, seed: int) -> dspex.Candidate:
        train = list(ctx.train)
        ctx.rng(f"shuffle/{seed}").shuffle(train)
        demos: tuple[dspex.Demo, ...] = ()
        teacher = ctx.student
        for step in range(2):
            got = await ctx.collect(teacher, train[step::2], self.want, rounds=2)
            demos += tuple(
                dspex.Demo({**one.inputs, **one.outputs}, True, rollout.example)
                for rollout in got
                for one in rollout.trace
            )
            teacher = ctx.student.with_demos({"self": demos})
        made: dspex.Candidate = ctx.consider(teacher, f"set {seed}", meta={"seed": seed})
        return made


SMALL = MappingProxyType({"trainset": tuple(examples(8)), "valset": tuple(examples(6, 100)), "sets": 3})
DATA = MappingProxyType({"trainset": tuple(examples(20)), "valset": tuple(examples(16, 100))})


async def compiled(model: Model, **options: Any) -> Any:
    """The search over the lab's data, on the running loop."""
    optimizer = options.pop("optimizer", None) or Search()
    with dspex.context(lm=model.lm):
        return await optimizer.acompile(dspex.Predict("question -> answer"), **{**DATA, "num_threads": 8, **options})


def saved(program: Any, folder: Path) -> bytes:
    """The program's file."""
    path = Path(folder) / "program.json"
    program.save(path)
    return path.read_bytes()


async def small_run(model: Model, run_dir: Path) -> None:
    """A compile of some 50 calls, and its program saved in its folder."""
    async with dspex.App():
        saved(await compiled(model, run_dir=run_dir, **SMALL), run_dir)


def run_child(run_dir: Path, log: int, kill_at: int | None, seed: int) -> int:
    """A compile in a process of its own that kills itself at that call; its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        rng = random.Random(seed)

        async def before(number: int, text: str) -> None:
            os.write(log, b".")
            for _ in range(rng.randrange(8)):
                await asyncio.sleep(0)
            if number == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(small_run(Model(before), run_dir))
        os._exit(0)
    finally:
        os._exit(1)


def main(folder: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    log_path = folder / "calls"
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def calls(name: str, kill_at: int | None) -> tuple[int, int]:
        before = log_path.stat().st_size
        status = run_child(folder / name, log, kill_at, rng.randrange(1 << 30))
        return status, log_path.stat().st_size - before

    asyncio.run(small_run(Model(), folder / "first"))  # what it imports, the children have
    gc.freeze()  # and no collection of theirs copies it
    _, needed = calls("whole", None)
    expected = (folder / "whole" / "program.json").read_bytes()
    for kill in range(kills):
        name, at = f"run-{kill}", rng.randrange(1, needed)
        killed, first = calls(name, at)
        journal = folder / name / "journal.jsonl"
        torn = rng.randrange(1, 200) if kill % 2 else 0
        if torn:
            os.truncate(journal, max(0, journal.stat().st_size - torn))
        ended, second = calls(name, None)
        program = folder / name / "program.json"
        same = program.exists() and program.read_bytes() == expected
        told = {
            "at": at,
            "killed": killed,
            "ended": ended,
            "repeated": first + second - needed,
            "torn": torn,
            "same": same,
        }
        sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
