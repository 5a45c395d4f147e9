"""How long a light run of MIPROv2 takes, beside DSPy's on the same model.

    python benchmarks/bench_mipro.py [--dspy PYTHON] [--delay 0.02] [--rounds 2] [--threads 0 8 32] [--val 40 100]

The model answers after `--delay` seconds: questions rightly for a half of them, and whatever else it is asked for with a few
words. 0 threads is each one's own default, 64 here and 8 in DSPy. Shown for each size of the valset and number of threads: calls, seconds and processor seconds of a compile, the mean of rounds with
different questions, after one that is not counted; the same of DSPy's by the interpreter of an environment that has dspy and
optuna (by default this one's); and the two beside each other. Goals: at most 0.4 of DSPy's time and 0.3 of its processor time.
"""

import argparse
import asyncio
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dspex
from dspex.plugin import Capabilities, LMRequest, LMResponse

TRAIN = 60


def written(asked: str) -> str:
    """The reply to a message; DSPy's model has the same rule."""
    names = re.findall(r"\[\[ ## (\w+) ## \]\]", asked.rsplit("\n\n", 1)[-1])
    draw = hashlib.blake2b(asked.encode(), digest_size=4).hexdigest()
    number = int(([0, *re.findall(r"n=(\d+)", asked)])[-1])
    values = {"answer": 2 * number if int(draw, 16) % 2 else "unknown", "completed": ""}
    return "\n\n".join(f"[[ ## {name} ## ]]\n{values.get(name, f'some words {draw}')}" for name in names)


class Mock:
    """Answers after some seconds."""

    capabilities = Capabilities(chat=True)

    def __init__(self, delay: float) -> None:
        self.delay, self.calls = delay, 0

    async def complete(self, request: LMRequest) -> LMResponse:
        self.calls += 1
        await asyncio.sleep(self.delay)
        return LMResponse.from_text(written(request.messages[-1].text))


DSPY = """
import hashlib, json, logging, re, sys, time
import dspy
from dspy.clients.base_lm import BaseLM

delay, rounds, threads, train, val = map(float, sys.argv[1:])
logging.disable(logging.CRITICAL)

class Message:
    def __init__(self, content): self.content, self.role = content, "assistant"

class Choice:
    def __init__(self, text): self.message, self.finish_reason = Message(text), "stop"

class Reply:
    def __init__(self, text): self.choices, self.usage, self.model = [Choice(text)], {}, "mock"

def written(asked):
    names = re.findall(r"\\[\\[ ## (\\w+) ## \\]\\]", asked.rsplit("\\n\\n", 1)[-1])
    draw = hashlib.blake2b(asked.encode(), digest_size=4).hexdigest()
    number = int(([0, *re.findall(r"n=(\\d+)", asked)])[-1])
    values = {"answer": 2 * number if int(draw, 16) % 2 else "unknown", "completed": ""}
    return "\\n\\n".join(f"[[ ## {name} ## ]]\\n{values.get(name, f'some words {draw}')}" for name in names)

class Mock(BaseLM):
    calls = 0
    def forward(self, prompt=None, messages=None, **kwargs):
        type(self).calls += 1
        time.sleep(delay)
        return Reply(written(messages[-1]["content"]))

dspy.configure(lm=Mock("mock"))
right = lambda example, made, trace=None: example.answer == made.answer
def examples(start, count):
    return [dspy.Example(question=f"n={n}", answer=str(2 * n)).with_inputs("question") for n in range(start, start + int(count))]
def run(start):
    optimizer = dspy.MIPROv2(right, auto="light", num_threads=int(threads) or None)
    optimizer.compile(dspy.Predict("question -> answer"), trainset=examples(start, train), valset=examples(start + 500, val))
out, sys.stdout, sys.stderr = sys.stdout, open("/dev/null", "w"), open("/dev/null", "w")
run(100_000)
Mock.calls, began, used = 0, time.perf_counter(), time.process_time()
for start in range(int(rounds)):
    run(1_000 * start)
print(json.dumps([figure / rounds for figure in (time.perf_counter() - began, time.process_time() - used, Mock.calls)]), file=out)
"""

Figures = tuple[float, float, float]  # seconds, processor seconds, calls


def right(example: dspex.Example, made: dspex.Prediction) -> bool:
    return bool(example.answer == made.answer)


def examples(start: int, count: int) -> list[dspex.Example]:
    numbers = range(start, start + count)
    return [dspex.Example(question=f"n={n}", answer=str(2 * n)).with_inputs("question") for n in numbers]


def compiled(start: int, threads: int, val: int, folder: str) -> None:
    optimizer = dspex.MIPROv2(right, auto="light", num_threads=threads or None)
    data = {"trainset": examples(start, TRAIN), "valset": examples(start + 500, val), "holdout": 0}
    optimizer.compile(dspex.Predict("question -> answer"), **data, run_dir=Path(folder) / str(start))


def own(delay: float, rounds: int, threads: int, val: int) -> Figures:
    """What one compile takes."""
    model = Mock(delay)
    dspex.configure(lm=dspex.LM("mock", provider=model, cache=False))
    with tempfile.TemporaryDirectory() as folder:
        compiled(100_000, threads, val, folder)
        model.calls, began, used = 0, time.perf_counter(), time.process_time()
        for start in range(rounds):
            compiled(1_000 * start, threads, val, folder)
        taken = time.perf_counter() - began, time.process_time() - used, model.calls
    return taken[0] / rounds, taken[1] / rounds, taken[2] / rounds


def theirs(python: str, delay: float, rounds: int, threads: int, val: int) -> Figures | None:
    """The same by DSPy, where that interpreter has it."""
    probe = subprocess.run([python, "-c", "import dspy, optuna"], capture_output=True, check=False)
    if probe.returncode:
        return None
    given = map(str, (delay, rounds, threads, TRAIN, val))
    done = subprocess.run([python, "-c", DSPY, *given], capture_output=True, text=True, check=True)
    seconds, used, calls = json.loads(done.stdout.splitlines()[-1])
    return seconds, used, calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--dspy", default=sys.executable, help="the interpreter of an environment that has dspy and optuna"
    )
    parser.add_argument("--delay", type=float, default=0.02)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, nargs="+", default=[0, 8, 32])
    parser.add_argument("--val", type=int, nargs="+", default=[40, 100])
    options = parser.parse_args()
    print(f"{TRAIN} examples to train, a call takes {1e3 * options.delay:.0f} ms, mean of {options.rounds}")
    print("val threads   dspex: calls  seconds    cpu     DSPy: calls  seconds    cpu   ratio    cpu")
    for val in options.val:
        for threads in options.threads:
            seconds, used, calls = own(options.delay, options.rounds, threads, val)
            line = f"{val:3} {threads:7} {calls:14.0f} {seconds:8.2f} {used:6.2f}"
            other = theirs(options.dspy, options.delay, options.rounds, threads, val)
            if other is None:
                line += "     DSPy is left out: no dspy and optuna in that environment, see --dspy"
            else:
                line += f" {other[2]:15.0f} {other[0]:8.2f} {other[1]:6.2f} {seconds / other[0]:7.2f} {used / other[1]:6.2f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
