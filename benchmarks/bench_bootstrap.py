"""How long it takes to bootstrap 4 demonstrations from 50 examples, beside DSPy on the same model.

    python benchmarks/bench_bootstrap.py [--dspy PYTHON] [--delay 0.05] [--rounds 10] [--right 0.1 0.33 0.5 0.8]

The model answers after `--delay` seconds, rightly for a share of the questions. Shown for each share: calls and seconds of
a bootstrap, the mean of rounds with different questions; the waves that those seconds are, at one delay each; DSPy's by
the interpreter of an environment that has it; and the two beside each other. Goal: at most 0.15 of DSPy's time.
"""

import argparse
import asyncio
import hashlib
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path

import dspex
from dspex.plugin import Capabilities, LMRequest, LMResponse

EXAMPLES, DEMOS = 50, 4


def is_right(number: int, share: float) -> bool:
    """Whether the model knows the double of a number; DSPy's has the same rule."""
    return hashlib.blake2b(str(number).encode(), digest_size=2).digest()[0] < 256 * share


class Doubler:
    """Doubles numbers after some seconds, or says that it does not know."""

    capabilities = Capabilities(chat=True)

    def __init__(self, delay: float, share: float) -> None:
        self.delay, self.share, self.calls = delay, share, 0

    async def complete(self, request: LMRequest) -> LMResponse:
        self.calls += 1
        await asyncio.sleep(self.delay)
        number = int(re.findall(r"n=(\d+)", request.messages[-1].text)[-1])
        answer = 2 * number if is_right(number, self.share) else "unknown"
        return LMResponse.from_text(f"[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]")


DSPY = """
import hashlib, json, logging, re, sys, time
import dspy
from dspy.clients.base_lm import BaseLM

delay, share, rounds, examples, demos = map(float, sys.argv[1:])
logging.disable(logging.CRITICAL)

class Message:
    def __init__(self, content): self.content, self.role = content, "assistant"

class Choice:
    def __init__(self, text): self.message, self.finish_reason = Message(text), "stop"

class Reply:
    def __init__(self, text): self.choices, self.usage, self.model = [Choice(text)], {}, "mock"

class Doubler(BaseLM):
    calls = 0
    def forward(self, prompt=None, messages=None, **kwargs):
        type(self).calls += 1
        time.sleep(delay)
        number = int(re.findall(r"n=(\\d+)", messages[-1]["content"])[-1])
        known = hashlib.blake2b(str(number).encode(), digest_size=2).digest()[0] < 256 * share
        return Reply(f"[[ ## answer ## ]]\\n{2 * number if known else 'unknown'}\\n\\n[[ ## completed ## ]]")

dspy.configure(lm=Doubler("mock"))
right = lambda example, made, trace=None: example.answer == made.answer
def run(start):
    data = [dspy.Example(question=f"n={n}", answer=str(2 * n)).with_inputs("question") for n in range(start, start + int(examples))]
    optimizer = dspy.BootstrapFewShot(right, max_bootstrapped_demos=int(demos), max_labeled_demos=0)
    optimizer.compile(dspy.Predict("question -> answer"), trainset=data)
run(10_000)
Doubler.calls, began, out, sys.stdout = 0, time.perf_counter(), sys.stdout, open("/dev/null", "w")
for start in range(int(rounds)):
    run(100 * start)
print(json.dumps([(time.perf_counter() - began) / rounds, Doubler.calls / rounds]), file=out)
"""


def right(example: dspex.Example, made: dspex.Prediction) -> bool:
    return bool(example.answer == made.answer)


def bootstrap(start: int, share: float, folder: str) -> None:
    numbers = range(start, start + EXAMPLES)
    data = [dspex.Example(question=f"n={n}", answer=str(2 * n)).with_inputs("question") for n in numbers]
    optimizer = dspex.BootstrapFewShot(right, max_bootstrapped_demos=DEMOS, max_labeled_demos=0)
    program = dspex.Predict("question -> answer")
    made = optimizer.compile(program, trainset=data, run_dir=Path(folder) / str(start))
    assert len(made.demos) == min(DEMOS, sum(is_right(n, share) for n in numbers))


def own(delay: float, share: float, rounds: int) -> tuple[float, float]:
    """Seconds and calls of one bootstrap."""
    model = Doubler(delay, share)
    dspex.configure(lm=dspex.LM("mock", provider=model, cache=False))
    with tempfile.TemporaryDirectory() as folder:
        bootstrap(10_000, share, folder)
        model.calls, began = 0, time.perf_counter()
        for start in range(rounds):
            bootstrap(100 * start, share, folder)
    return (time.perf_counter() - began) / rounds, model.calls / rounds


def theirs(python: str, delay: float, share: float, rounds: int) -> tuple[float, float]:
    """The same by DSPy."""
    given = map(str, (delay, share, rounds, EXAMPLES, DEMOS))
    done = subprocess.run([python, "-c", DSPY, *given], capture_output=True, text=True, check=True)
    seconds, calls = json.loads(done.stdout.splitlines()[-1])
    return seconds, calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dspy", help="the interpreter of an environment that has dspy")
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--right", type=float, nargs="+", default=[0.1, 0.33, 0.5, 0.8])
    options = parser.parse_args()
    print(f"{DEMOS} demos of {EXAMPLES} examples, a call takes {1e3 * options.delay:.0f} ms, mean of {options.rounds}")
    print("right   dspex: calls  seconds  waves    DSPy: calls  seconds   ratio")
    for share in options.right:
        seconds, calls = own(options.delay, share, options.rounds)
        line = f"{share:5.2f} {calls:13.1f} {seconds:8.3f} {seconds / options.delay:6.1f}"
        if options.dspy:
            other, many = theirs(options.dspy, options.delay, share, options.rounds)
            line += f" {many:14.1f} {other:8.3f} {seconds / other:7.2f}"
        print(line)


if __name__ == "__main__":
    main()
