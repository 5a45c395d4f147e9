"""Rows R1, R6 and R7 of docs/faults.md, on real sockets: mixed faults at 2,000 in flight, and the loop's lag beside aiohttp's.

    python benchmarks/bench_faults.py [--calls 100000] [--in-flight 2000] [--rounds 3]

Needs dspex-openai. The server runs in a process of its own.
"""

import argparse
import asyncio
import gc
import os
import resource
import statistics
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec
from fault_endpoint import endpoint

import dspex

TICK_S = 0.005


class Gauges(NamedTuple):
    """What must not grow: bytes resident, and counts."""

    rss: int
    fds: int
    tasks: int
    threads: int

    @classmethod
    def now(cls) -> "Gauges":
        gc.collect()
        rss = int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return cls(rss, len(list(Path("/proc/self/fd").iterdir())), len(asyncio.all_tasks()), threading.active_count())


class Lag:
    """How late the loop's timers are while it runs, in seconds."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            self.seen.append(loop.time() - due)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.seen, n=100)[98]


async def load(call: Callable[[str], Awaitable[str]], calls: int, in_flight: int, ends: Counter[str]) -> None:
    """So many calls by so many workers; counts how each ended."""
    numbers = iter(range(calls))

    async def work() -> None:
        for number in numbers:
            try:
                assert await call(f"What is {number}?") == "4"
                ends["answer"] += 1
            except dspex.LMError as error:
                ends[type(error).__name__] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())


def model(url: str) -> dspex.LM:
    return dspex.LM("openai/acme-1", api_base=url, api_key="none", cache=False)


async def faulty(url: str, calls: int, in_flight: int) -> Counter[str]:
    """How the calls of an App of their own ended."""
    ends = Counter[str]()
    async with dspex.App():
        lm = model(url)

        async def call(question: str) -> str:
            return str((await lm.acall(question))[0])

        await load(call, calls, in_flight, ends)
    await asyncio.sleep(0.5)  # sockets end in turns of the loop
    return ends


async def faults(calls: int, in_flight: int) -> None:
    """R1 and R7; gauges are read with all connections closed."""
    with endpoint() as server:
        await faulty(server.url, calls // 10, in_flight)
        server.requests()
        before, began = Gauges.now(), time.perf_counter()
        ends = await faulty(server.url, calls, in_flight)
        seconds, after = time.perf_counter() - began, Gauges.now()
        attempts = server.requests()
    print(f"R1: {ends.total()} of {calls} calls ended in {seconds:.0f} s at {in_flight} in flight: {dict(ends)}")
    print(f"R1: amplification {attempts / calls:.3f} (<= 1.25)")
    print(f"R7: RSS {(after.rss - before.rss) / 2**20:+.1f} MB (<= 40), fds {after.fds - before.fds:+d}, ", end="")
    print(f"tasks {after.tasks - before.tasks:+d}, threads {after.threads - before.threads:+d}")


async def lag_of(call: Callable[[str], Awaitable[str]], calls: int, in_flight: int) -> float:
    lag = Lag()
    await load(call, in_flight, in_flight, Counter())  # connections, and what is loaded late
    probe = asyncio.create_task(lag.run())
    await load(call, calls, in_flight, Counter())
    probe.cancel()
    return lag.p99


async def raw_lag(url: str, calls: int, in_flight: int) -> float:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(question: str) -> str:
            body = {"model": "acme-1", "messages": [{"role": "user", "content": question}]}
            headers = {"content-type": "application/json"}
            async with session.post(
                f"{url}/chat/completions", data=msgspec.json.encode(body), headers=headers
            ) as reply:
                decoded: Any = msgspec.json.decode(await reply.read())
            return str(decoded["choices"][0]["message"]["content"])

        return await lag_of(call, calls, in_flight)


async def our_lag(url: str, calls: int, in_flight: int) -> float:
    async with dspex.App():
        lm = model(url)

        async def call(question: str) -> str:
            return str((await lm.acall(question))[0])

        return await lag_of(call, calls, in_flight)


def lags(rounds: int) -> None:
    """R6."""
    with endpoint(share=0.0, delay=0.2) as server:
        for in_flight in (512, 2_000):
            pairs = [
                (
                    asyncio.run(raw_lag(server.url, 10 * in_flight, in_flight)),
                    asyncio.run(our_lag(server.url, 10 * in_flight, in_flight)),
                )
                for _ in range(rounds)
            ]
            raw, ours = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
            print(
                f"R6: {in_flight} in flight: loop lag p99 {ours:.0f} ms, raw aiohttp {raw:.0f} ms: {ours / raw:.2f}x (<= 1.2)"
            )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--calls", type=int, default=100_000)
    arguments.add_argument("--in-flight", type=int, default=2_000)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asyncio.run(faults(given.calls, given.in_flight))
    lags(given.rounds)


if __name__ == "__main__":
    main()
