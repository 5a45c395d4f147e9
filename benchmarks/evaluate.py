"""What Evaluate costs beside the program: CPU an example, and how near many slow examples come to the ideal time.

    python benchmarks/evaluate.py [--sizes 500 20000] [--rounds 5]
    python benchmarks/evaluate.py --wall [--examples 5000] [--delay 0.05] [--threads 64]

First, CPU microseconds an example for a program that answers at once and a metric that compares two texts: the best of
the rounds, as measured and scaled to a machine on which a fixed piece of work takes 16.5 us; raw is the same program and
metric in a plain loop, and the options are what each adds to Evaluate. Goals: at most 15 us over raw, and 20,000 examples
at most 1.15 times 500.

--wall is the time of many slow examples, with a program that sleeps and, where dspex-openai is installed, with one that
asks a server; raw is aiohttp by hand against the same server. Goal: at most 1.08 times the ideal, on a quiet machine.
"""

import argparse
import asyncio
import hashlib
import json
import math
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from mock_server import mock_server

from dspex.app.lm import LM
from dspex.core.errors import ConfigurationError
from dspex.core.example import Example, Prediction
from dspex.core.usage import Budget
from dspex.evaluate.evaluate import Evaluate
from dspex.program.predict import Predict

FIXED_US = 16.5
CONVERSATION = {"model": "m", "messages": [{"role": "user", "content": "How many legs has a spider? " * 8}], "n": 1}


class Answers:
    """Answers with its question, after some seconds."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    async def acall(self, question: str) -> Prediction:
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return Prediction(answer=question)


def exact(example: Example, prediction: Prediction) -> bool:
    return example.answer == prediction.answer


def examples(n: int, answer: str | None = None) -> list[Example]:
    return [Example(question=str(i), answer=answer or str(i)).with_inputs("question") for i in range(n)]


def fixed_work() -> str:
    text = json.dumps(CONVERSATION)
    found = json.loads(text)
    return f"{hashlib.sha256(text.encode()).hexdigest()} {found['model']} {found['n']}"


def fixed_work_us() -> float:
    start = time.process_time()
    for _ in range(5_000):
        fixed_work()
    return 1e6 * (time.process_time() - start) / 5_000


async def raw_us(devset: list[Example]) -> float:
    program, start = Answers(), time.process_time()
    scores = [exact(example, await program.acall(question=example.question)) for example in devset]
    seconds = time.process_time() - start
    assert all(scores)
    return 1e6 * seconds / len(devset)


async def evaluate_us(devset: list[Example], **options: Any) -> float:
    evaluate, start = Evaluate(devset, **{"metric": exact, **options}), time.process_time()
    result = await evaluate.acall(Answers())
    seconds = time.process_time() - start
    assert result.score == 100.0
    return 1e6 * seconds / len(devset)


def measure(sizes: list[int], rounds: int) -> dict[int, tuple[float, float]]:
    """Scaled raw and dspex figures by size; the best of rounds that are interleaved, so a busy moment hits all alike."""
    devsets = {size: examples(size) for size in sizes}
    raw, own, fixed = dict.fromkeys(sizes, math.inf), dict.fromkeys(sizes, math.inf), math.inf
    for _ in range(rounds):
        fixed = min(fixed, fixed_work_us())
        for size, devset in devsets.items():
            for _ in range(max(1, 5_000 // size)):
                raw[size] = min(raw[size], asyncio.run(raw_us(devset)))
                own[size] = min(own[size], asyncio.run(evaluate_us(devset)))
    scale = FIXED_US / fixed
    return {size: (raw[size] * scale, own[size] * scale) for size in sizes}


def measure_options(rounds: int) -> dict[str, float]:
    """Scaled microseconds an example with each option, at 2,000 examples."""
    devset, best, fixed = examples(2_000), dict[str, float](), math.inf
    for _ in range(rounds):
        fixed = min(fixed, fixed_work_us())
        with tempfile.TemporaryDirectory() as folder:
            options: dict[str, dict[str, Any]] = {
                "none": {},
                "two metrics": {"metric": {"one": exact, "other": exact}},
                "slice_by": {"slice_by": "answer"},
                "judge_budget": {"judge_budget": Budget(calls=1)},
                "run_dir": {"run_dir": Path(folder) / "run"},
            }
            for name, given in options.items():
                best[name] = min(best.get(name, math.inf), asyncio.run(evaluate_us(devset, **given)))
    return {name: us * FIXED_US / fixed for name, us in best.items()}


def show_cpu(sizes: list[int], rounds: int) -> None:
    found = measure(sizes, rounds)
    print("examples   raw us   Evaluate us   overhead us   (scaled)")
    for size, (raw, own) in found.items():
        print(f"{size:8,} {raw:8.2f} {own:13.2f} {own - raw:13.2f}")
    smallest, largest = found[min(found)][1], found[max(found)][1]
    print(f"flat: {largest / smallest:.2f}")
    none, *others = measure_options(rounds).items()
    print("an option adds:", ", ".join(f"{name} {us - none[1]:+.1f} us" for name, us in others))


async def timed(run: Callable[[], Awaitable[Any]]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    await run()
    return time.perf_counter() - clock, time.process_time() - processor


async def by_hand(url: str, n: int, threads: int) -> None:
    import aiohttp

    questions = iter(range(n))

    async def work(session: aiohttp.ClientSession) -> None:
        for number in questions:
            body = {"model": "mock", "messages": [{"role": "user", "content": f"[[ ## question ## ]]\n{number}"}]}
            async with session.post(f"{url}/chat/completions", json=body) as reply:
                text = json.loads(await reply.read())["choices"][0]["message"]["content"]
                assert "Paris" in text

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(work(session) for _ in range(threads)))


def show_wall(n: int, delay: float, threads: int) -> None:
    ideal = math.ceil(n / threads) * delay
    print(f"{n:,} examples of {1e3 * delay:.0f} ms, {threads} at once; ideal {ideal:.2f} s")

    def show(name: str, run: Callable[[], Awaitable[Any]]) -> None:
        seconds, processor = asyncio.run(timed(run))
        print(f"{name:22} {seconds:6.2f} s  {seconds / ideal:5.2f} x ideal  {processor:5.2f} s CPU")

    show("a program that sleeps", lambda: Evaluate(examples(n), exact, threads).acall(Answers(delay)))
    with mock_server(delay) as url:
        show("a server, by hand", lambda: by_hand(url, n, threads))
        program = Predict("question -> answer")
        try:
            program.lm = LM("openai/mock", api_base=url, api_key="none", cache=False)
            _ = program.lm.service
        except ConfigurationError as error:
            print(f"a server, by Predict: left out, {error}")
            return
        show("a server, by Predict", lambda: Evaluate(examples(n, "Paris"), exact, threads).acall(program))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 20_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wall", action="store_true")
    parser.add_argument("--examples", type=int, default=5_000)
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=64)
    options = parser.parse_args()
    if options.wall:
        show_wall(options.examples, options.delay, options.threads)
    else:
        show_cpu(options.sizes, options.rounds)


if __name__ == "__main__":
    main()
