"""What an agent's step and a batch's item cost beside the calls of models themselves.

    python benchmarks/bench_agent.py [--rounds 5]

Prints milliseconds of CPU a step of `ReAct`, in text and natively, for runs of several lengths, beside the same number of plain
`Predict` calls with a prompt as long as that of the middle step; and microseconds an item of `Module.outcomes` from a
generator. The least of several rounds. The goals are those of issue 9: a step of 20 costs at most 1 ms, and no step costs
more for those before it; 10,000 items take flat memory.
"""

import argparse
import asyncio
import time
import tracemalloc
from collections.abc import Awaitable, Callable

import dspex
from dspex.core.messages import ToolCall
from dspex.plugin import Choice, LMRequest, LMResponse, Usage

PAGE = "A line of what stands on the page. " * 10
THOUGHT = "What is known does not suffice, so look further. " * 2
ANSWER = {"reasoning": "It follows.", "answer": "4"}
LENGTHS = (5, 20, 100, 200)
USAGE = Usage(100, 20)  # as providers say it: dspex would have to guess it of each prompt's length


async def search(query: str) -> str:
    """Finds pages."""
    return PAGE + query


class Works:
    """A provider that searches `steps - 1` times, finishes, and answers; `steps` 0: always the same call."""

    def __init__(self, steps: int, *, natively: bool = False) -> None:
        self.capabilities = dspex.Capabilities(chat=True, tools=natively)
        self._steps = steps
        self._natively = natively
        self._asked = 0

    async def complete(self, request: LMRequest) -> LMResponse:
        self._asked += 1
        form = dspex.ChatAdapter().format_fields
        if self._steps and self._asked > self._steps:
            return LMResponse.from_text(str(form(ANSWER)), USAGE)
        tool, args = ("search", f'{{"query": "{self._asked}"}}') if self._asked != self._steps else ("finish", "{}")
        if self._natively:
            return LMResponse((Choice("", (ToolCall(str(self._asked), tool, args),), "tool_calls"),), USAGE)
        return LMResponse.from_text(
            str(form({"next_thought": THOUGHT, "next_tool_name": tool, "next_tool_args": args})), USAGE
        )


def cpu_ms(work: Callable[[], Awaitable[object]], provider: Works) -> float:
    """CPU of one run, in milliseconds."""

    async def run() -> float:
        with dspex.context(lm=dspex.LM("mine/model", provider=provider, cache=False), disable_history=True):
            began = time.process_time()
            await work()
            return (time.process_time() - began) * 1e3

    return asyncio.run(run())


def agent(steps: int) -> dspex.ReAct:
    """An agent that takes so many steps without a summary by a model."""
    return dspex.ReAct("question -> answer", [search], steps + 1, summarise=lambda text, most: text[:most])


async def plain(steps: int) -> None:
    """So many calls of the agent's own predictor."""
    predict = agent(steps).react
    trajectory = (PAGE + THOUGHT) * min(steps // 2, 130)
    for _ in range(steps):
        await predict.acall(question="2 + 2?", trajectory=trajectory)


class Doubles(dspex.Module):
    """A program that costs nothing."""

    async def aforward(self, x: int) -> int:
        return 2 * x


async def batch(count: int) -> None:
    """So many items of a generator."""
    async for _ in Doubles().outcomes(({"x": number} for number in range(count)), num_threads=64):
        pass


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    rounds = range(options.parse_args().rounds)
    print(f"{'steps':>6} {'text':>8} {'natively':>9} {'Predict':>8}   ms a step")
    for steps in LENGTHS:
        rows = [
            (
                cpu_ms(lambda: agent(steps).acall(question="2 + 2?"), Works(steps)),  # noqa: B023  run at once
                cpu_ms(lambda: agent(steps).acall(question="2 + 2?"), Works(steps, natively=True)),  # noqa: B023
                cpu_ms(lambda: plain(steps), Works(0)),  # noqa: B023
            )
            for _ in rounds
        ]
        text, natively, predict = (min(column) / steps for column in zip(*rows, strict=True))
        print(f"{steps:>6} {text:>8.3f} {natively:>9.3f} {predict:>8.3f}")
    for count in (1_000, 10_000):
        least = min(cpu_ms(lambda: batch(count), Works(0)) for _ in rounds)  # noqa: B023
        tracemalloc.start()
        cpu_ms(lambda: batch(count), Works(0))  # noqa: B023
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        print(f"batch of {count:>6}: {least / count * 1e3:.1f} us an item, {peak / 1e3:.0f} kB at most")


if __name__ == "__main__":
    main()
