"""What Evaluate itself costs an example: a program that answers at once, scored by a metric that compares two texts.

    python benchmarks/evaluate.py [--sizes 500 20000] [--rounds 5]

CPU microseconds an example, the best of the rounds, as measured and scaled to a machine on which a fixed piece of work
takes 16.5 us; raw is the same program and metric in a plain loop. Goals: at most 15 us, and 20,000 examples at most
1.15 times 500.
"""

import argparse
import asyncio
import hashlib
import json
import time

from dspex.core.example import Example, Prediction
from dspex.evaluate.evaluate import Evaluate

FIXED_US = 16.5
CONVERSATION = {"model": "m", "messages": [{"role": "user", "content": "How many legs has a spider? " * 8}], "n": 1}


class Answers:
    async def acall(self, question: str) -> Prediction:
        return Prediction(answer=question)


def exact(example: Example, prediction: Prediction) -> bool:
    return example.answer == prediction.answer


def examples(n: int) -> list[Example]:
    return [Example(question=str(i), answer=str(i)).with_inputs("question") for i in range(n)]


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


async def evaluate_us(devset: list[Example]) -> float:
    evaluate, start = Evaluate(devset, exact), time.process_time()
    result = await evaluate.acall(Answers())
    seconds = time.process_time() - start
    assert result.score == 100.0
    return 1e6 * seconds / len(devset)


def measure(sizes: list[int], rounds: int) -> dict[int, tuple[float, float]]:
    """Scaled raw and dspex figures by size; rounds are interleaved, so a busy moment hits all alike."""
    devsets = {size: examples(size) for size in sizes}
    best: dict[int, tuple[float, float]] = dict.fromkeys(sizes, (float("inf"), float("inf")))
    for _ in range(rounds):
        for size, devset in devsets.items():
            scale = FIXED_US / fixed_work_us()
            repeats = max(1, 2_000 // size)
            raw = min(asyncio.run(raw_us(devset)) for _ in range(repeats)) * scale
            own = min(asyncio.run(evaluate_us(devset)) for _ in range(repeats)) * scale
            best[size] = (min(best[size][0], raw), min(best[size][1], own))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 20_000])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found = measure(options.sizes, options.rounds)
    print("examples   raw us   Evaluate us   overhead us   (scaled)")
    for size, (raw, own) in found.items():
        print(f"{size:8,} {raw:8.2f} {own:13.2f} {own - raw:13.2f}")
    smallest, largest = found[min(found)][1], found[max(found)][1]
    print(f"flat: {largest / smallest:.2f}")


if __name__ == "__main__":
    main()
