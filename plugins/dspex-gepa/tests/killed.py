"""A compile that is killed and gone on with: python killed.py FOLDER AT ..., a line of JSON for each call to be killed at."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import dspex
from conftest import Clerk, tickets, told


async def compiled(folder, log, kill_at):
    async def before(request):
        os.write(log, b".")
        if len(clerk.requests) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    clerk = Clerk(most=1, before=before)
    data = {"trainset": tickets(12), "valset": tickets(12, 100), "holdout": 0}
    async with dspex.App():
        with dspex.context(lm=clerk.lm):
            gepa = dspex.GEPA(told, max_metric_calls=90, reflection_lm=clerk.lm, num_threads=4, track_stats=True)
            program = await gepa.acompile(dspex.Predict("ticket -> desk"), **data, run_dir=folder / "run")
    program.save(folder / "program.json")
    (folder / "results.json").write_text(json.dumps(program.detailed_results.to_dict()))


def child(folder, kill_at=None):
    """Exit status of a compile in a process of its own, what it left, and the calls of all in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    pid = os.fork()
    if not pid:
        try:
            asyncio.run(compiled(folder, log, kill_at))
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = [path.read_text() for name in ("program.json", "results.json") if (path := folder / name).exists()]
    return status, left, (folder / "calls").stat().st_size


def main(folder, kills):
    _, whole, needed = child(folder / "whole")
    for share in kills:
        place = folder / share
        killed, nothing, _ = child(place, int(float(share) * needed))
        ended, left, calls = child(place)
        told = {"killed": killed, "nothing": nothing, "ended": ended, "same": left == whole, "repeated": calls - needed}
        sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
