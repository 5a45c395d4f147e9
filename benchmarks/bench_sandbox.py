"""What a run of code costs in each sandbox that is installed, beside the same code run bare.

python benchmarks/bench_sandbox.py [NAME ...]
"""

import asyncio
import statistics
import sys
import time
from typing import Any

import dspex
from dspex.app.sandbox import sandbox_for

CALLS = "for i in range(100):\n    tool(i)"
CODE = "print('x')\nsum(i * i for i in range(10))"
RUNS = {"monty": 300, "bwrap": 30}


async def milliseconds(work: Any, runs: int) -> str:
    """Median and best tenth of so many runs."""
    await work()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        await work()
        times.append((time.perf_counter() - began) * 1000)
    return f"{statistics.median(times):8.2f} {statistics.quantiles(times, n=10)[0]:8.2f}"


async def tool(number: int) -> int:
    """Called by the code."""
    return number


async def main(names: list[str]) -> None:
    print(f"{'milliseconds':<30}{'median':>8} {'best 10%':>8}")
    bare = compile("sum(i * i for i in range(10))", "bare", "eval")

    async def alone() -> None:
        eval(bare)

    print(f"{'the bare expression':<30}{await milliseconds(alone, 1000)}")
    async with dspex.App() as app:
        for name in names or app.plugins.names("sandboxes"):
            sandbox = sandbox_for(name, "the benchmark")
            runs = RUNS.get(name, 30)
            print(f"{name + ': a run':<30}{await milliseconds(lambda sandbox=sandbox: sandbox.run(CODE), runs)}")
            times = await milliseconds(
                lambda sandbox=sandbox: sandbox.run(CALLS, tools={"tool": tool}), max(5, runs // 10)
            )
            print(f"{name + ': a run with 100 tool calls':<30}{times}")
            async with sandbox.session() as session:
                print(
                    f"{name + ': a piece in a session':<30}{await milliseconds(lambda session=session: session.run(CODE), runs)}"
                )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
