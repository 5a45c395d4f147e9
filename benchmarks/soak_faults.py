"""Row R29 of docs/faults.md: mixed faults for half an hour, with a child of the App killed now and then; all gauges stay flat.

    python benchmarks/soak_faults.py [--minutes 30]

Needs dspex-openai. Fails if the line through what was measured after the first fifth of the time rises.
"""

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections import Counter

from bench_faults import Gauges, load, model
from fault_endpoint import endpoint

import dspex

EVERY_S, CALLS, IN_FLIGHT = 10.0, 2_000, 200
# What each may rise over the whole time: noise of the allocator, and nothing that grows with the calls.
MOST = Gauges(rss=40 << 20, fds=2, tasks=2, threads=2)


def rises(times: list[float], samples: list[Gauges]) -> list[str]:
    """The gauges whose line of best fit rises by more than they may."""
    found = []
    for name, values, most in zip(Gauges._fields, zip(*samples, strict=True), MOST, strict=True):
        slope = statistics.linear_regression(times, values).slope
        rise = slope * (times[-1] - times[0])
        print(f"{name}: {rise:+.1f} over {times[-1] - times[0]:.0f} s (at most {most})")
        if rise > most:
            found.append(name)
    return found


async def main(minutes: float) -> list[str]:
    rng, ends = random.Random(0), Counter[str]()
    times: list[float] = []
    samples: list[Gauges] = []
    with endpoint() as server:
        async with dspex.App() as app:
            for name in ("first", "second"):
                app.supervise(name, asyncio.Event().wait)
            lm = model(server.url)

            async def call(question: str) -> str:
                return str((await lm.acall(question))[0])

            await asyncio.sleep(0.1)  # children begin in their own turn
            began = time.monotonic()
            while (now := time.monotonic() - began) < minutes * 60:
                children = [task for task in asyncio.all_tasks() if task.get_name().startswith("app:")]
                rng.choice(sorted(children, key=lambda task: task.get_name())).cancel()
                await load(call, CALLS, IN_FLIGHT, ends)
                await asyncio.sleep(max(0.0, EVERY_S - (time.monotonic() - began - now)))
                server.requests()
                if now > minutes * 12:
                    times.append(now)
                    samples.append(Gauges.now())
    print(dict(ends))
    return rises(times, samples)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=30.0)
    found = asyncio.run(main(arguments.parse_args().minutes))
    sys.exit(f"These rise: {', '.join(found)}" if found else 0)
