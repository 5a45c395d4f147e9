"""Compiles that are killed and gone on with: python killed.py FOLDER OPTIMIZER ..., a line of JSON for each."""

import asyncio
import hashlib
import json
import os
import re
import signal
import sys
from pathlib import Path

import optuna  # noqa: F401  once, and not in each child

import dspex
from dspex.plugin import Capabilities, LMResponse

FEW = {"max_bootstrapped_demos": 2, "max_labeled_demos": 4}
SHARE = 0.6  # of the calls that a whole run takes
AT_ONCE = 4


class Model:
    """Answers by the request alone; at call number `kill_at` the process is gone."""

    capabilities = Capabilities(chat=True)

    def __init__(self, log, kill_at):
        self.log, self.kill_at, self.calls = log, kill_at, 0

    async def complete(self, request):
        self.calls += 1
        os.write(self.log, b".")
        if self.calls == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        text = "\n".join(message.text for message in request.messages) + str(sorted(request.params.items()))
        draw = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
        await asyncio.sleep(int(draw[:1], 16) / 10_000)  # so that calls end in another order than they began in
        last = request.messages[-1].text
        number = int([0, *re.findall(r"n=(\d+)", last)][-1])
        right = int(draw[:2], 16) < 80 + 30 * (len(request.messages) // 2)
        known = {"answer": str(2 * number) if right else "unknown", "completed": ""}
        names = re.findall(r"\[\[ ## (\w+) ## \]\]", last.rsplit("\n\n", 1)[-1])
        parts = [f"[[ ## {name} ## ]]\n{known.get(name, f'words {draw}')}" for name in names]
        return LMResponse.from_text("\n\n".join(parts), dspex.Usage(len(text), 5))


def right(example, made, trace=None):
    return example.answer == made.answer


def examples(count, start=0):
    numbers = range(start, start + count)
    return [dspex.Example(question=f"n={n}", answer=str(2 * n)).with_inputs("question") for n in numbers]


OPTIMIZERS = {
    "MIPROv2": (
        lambda: dspex.MIPROv2(metric=right, auto=None, num_candidates=3, **FEW),
        {"num_trials": 4, "minibatch": False},
    ),
    "BootstrapFewShotWithOptuna": (
        lambda: dspex.BootstrapFewShotWithOptuna(right, num_candidate_programs=3, **FEW), {"max_demos": 3},
    ),
}  # fmt: skip


async def compiled(name, folder, log, kill_at):
    make, arguments = OPTIMIZERS[name]
    data = {"trainset": examples(20), "valset": examples(12, 100), "holdout": 0, "num_threads": AT_ONCE}
    lm = dspex.LM("model", provider=Model(log, kill_at), cache=False, num_retries=0)
    async with dspex.App():
        with dspex.context(lm=lm):
            student = dspex.Predict("question -> answer")
            program = await make().acompile(student, **data, **arguments, run_dir=folder / "run")
    program.save(folder / "program.json")


def child(name, folder, kill_at=None):
    """Exit status of a compile in a process of its own, what it left, and the calls of all in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    pid = os.fork()
    if not pid:
        try:
            asyncio.run(compiled(name, folder, log, kill_at))
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = (folder / "program.json").read_text() if (folder / "program.json").exists() else None
    return status, left, (folder / "calls").stat().st_size


def main(folder, names):
    for name in names:
        _, whole, needed = child(name, folder / name / "whole")
        place = folder / name / "killed"
        killed, nothing, _ = child(name, place, int(SHARE * needed))
        ended, left, calls = child(name, place)
        told = {"name": name, "killed": killed, "nothing": nothing, "ended": ended, "repeated": calls - needed}
        sys.stdout.write(json.dumps({**told, "same": left is not None and left == whole}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
