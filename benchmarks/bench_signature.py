"""The price of a signature's work: prompts, parsing, definitions and records, beside DSPy where that is installed.

    python benchmarks/bench_signature.py [--rounds 7]

Prints microseconds of CPU, the least of several rounds, which take turns; with DSPy in the same environment
(`pip install dspy==3.4.1`) its figure and the ratio too. The goals are those of issue 4: prompts 0.06, parse 0.2, typed 0.4,
signatures 0.15, records 0.2.
"""

import argparse
import importlib.util
import itertools
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pydantic

import dspex

FRESH = itertools.count()
REPLY = "[[ ## answer ## ]]\nParis, the capital of France\n\n[[ ## completed ## ]]"
STEPS = msgspec.json.encode({"steps": [{"text": f"step {n}", "minutes": n} for n in range(5)]}).decode()
TYPED_REPLY = f"[[ ## plan ## ]]\n{STEPS}\n\n[[ ## completed ## ]]"
INPUTS = {"question": "What is the capital of France?"}
DEMOS = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(4)]


class Step(pydantic.BaseModel):
    text: str
    minutes: int


class Plan(pydantic.BaseModel):
    steps: list[Step]


class StepStruct(msgspec.Struct):
    text: str
    minutes: int


class PlanStruct(msgspec.Struct):
    steps: list[StepStruct]


def works(library: Any, plan: type) -> dict[str, Callable[[], Any]]:
    """One piece of work by name, for dspex or DSPy."""
    adapter, signature = library.ChatAdapter(), library.Signature("question -> answer")
    planned = library.Signature("goal -> plan: Plan", custom_types={"Plan": plan})
    demos = [library.Example(**demo) for demo in DEMOS]
    return {
        "prompt": lambda: adapter.format(signature, [], INPUTS),
        "prompt, 4 demos": lambda: adapter.format(signature, demos, INPUTS),
        "parse": lambda: adapter.parse(signature, REPLY),
        "typed parse": lambda: adapter.parse(planned, TYPED_REPLY),
        "signature, again": lambda: library.Signature("question -> answer"),
        "signature, new": lambda: library.Signature(f"question -> answer{next(FRESH)}"),
        "Prediction": lambda: library.Prediction(answer="Paris", score=1.0),
        "Example": lambda: library.Example(question="q", answer="a").with_inputs("question"),
    }


def cpu_us(work: Callable[[], Any]) -> float:
    """CPU of one run, in microseconds, over about 20 ms."""
    began = time.perf_counter()
    work()
    repeats = max(3, int(0.02 / max(time.perf_counter() - began, 1e-7)))
    began = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - began) / repeats * 1e6


def least(sides: list[Callable[[], Any]], rounds: int) -> list[float]:
    """The least of interleaved rounds, a figure for each side."""
    figures = [[cpu_us(side) for side in sides] for _ in range(rounds)]
    return [min(column) for column in zip(*figures, strict=True)]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=7)
    rounds = arguments.parse_args().rounds
    ours, structs = works(dspex, Plan), works(dspex, PlanStruct)
    assert ours["typed parse"]()["plan"] == Plan.model_validate_json(STEPS)
    assert structs["typed parse"]()["plan"] == msgspec.json.decode(STEPS, type=PlanStruct)
    theirs = works(importlib.import_module("dspy"), Plan) if importlib.util.find_spec("dspy") else {}
    for name, work in ours.items():
        mine, *other = least([work, *([theirs[name]] if theirs else [])], rounds)
        print(
            f"{name:18} {mine:8.2f} us"
            + "".join(f"   DSPy {figure:8.2f} us   {mine / figure:.3f}x" for figure in other)
        )
    [struct] = least([structs["typed parse"]], rounds)
    print(f"{'typed, a Struct':18} {struct:8.2f} us")


if __name__ == "__main__":
    main()
