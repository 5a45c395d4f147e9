"""What it costs to run a program elsewhere, and what it brings to one that computes, beside the same program here.

python benchmarks/bench_executors.py [WORKERS ...]
"""

import asyncio
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import dspex
from dspex.testing.errands import Acts, Computes, acts, ended
from dspex_processes.executor import ProcessExecutor

EXAMPLES, ROUNDS = 40, 2_000_000
MANY = 2_000


def row(name: str, wall: float, busy: float, more: str = "") -> None:
    """Seconds of the clock, and of all processors together."""
    print(f"{name:<44}{wall:8.2f} s {busy:8.2f} s {more}")


def busy_s(pids: list[int]) -> float:
    """Seconds of processors that this process and those have used."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ticks = 0
    for pid in pids:
        ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
    return own.ru_utime + own.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


async def timed(executor: Any, program: Any, devset: list[dspex.Example]) -> tuple[float, float]:
    """Seconds of an evaluation, once all workers are there."""
    evaluate = dspex.Evaluate(devset, ended)
    if executor is not None:
        await dspex.Evaluate(acts(*[("echo", "a")] * 64), ended).acall(Acts(), executor=executor)
    pids = [] if executor is None else executor.pids
    began, used = time.perf_counter(), busy_s(pids)
    assert (await evaluate.acall(program, executor=executor)).score == 100
    return time.perf_counter() - began, busy_s(pids) - used


async def main(counts: list[int]) -> None:
    print(f"{'':<44}{'clock':>10} {'processors':>10}")
    async with dspex.App(cache=False):
        heavy = [dspex.Example(rounds=ROUNDS + n).with_inputs("rounds") for n in range(EXAMPLES)]
        light = acts(*[("echo", "a")] * MANY)
        row(f"{EXAMPLES} that compute, here", *await timed(None, Computes(), heavy))
        for count in counts:
            async with ProcessExecutor({"workers": count}) as executor:
                row(f"{EXAMPLES} that compute, workers: {count}", *await timed(executor, Computes(), heavy))
        wall, busy = await timed(None, Acts(), light)
        row(f"{MANY:,} that do nothing, here", wall, busy, f"{1e6 * wall / MANY:6.0f} us an example")
        for count in counts:
            async with ProcessExecutor({"workers": count}) as executor:
                wall, busy = await timed(executor, Acts(), light)
                name = f"{MANY:,} that do nothing, workers: {count}"
                row(name, wall, busy, f"{1e6 * wall / MANY:6.0f} us an example")


if __name__ == "__main__":
    asyncio.run(main([int(word) for word in sys.argv[1:]] or [1, 2]))
