"""How near GEPA and SIMBA come to their critical path: the seconds that their rounds would take if nothing but the model took any.

    python benchmarks/bench_paths.py [--delay 0.02] [--rounds 3]

The model answers after `--delay` seconds: to a ticket with the desk that its instructions name, to a question for new instructions
with two more rules. The path is the longest chain of calls of which each began after the one before it had ended; that it is as
short as it can be is tested in virtual time (`test_runs.py` of dspex-gepa, `test_searches.py` of dspex-optimizers). So the ratio is what the
engine takes itself: rounds, journal, evidence. Goal: at most 1.2.

Beside it stand two other measures. `waves` is the path by the algorithms' published form, with the ratio to it: GEPA runs the
student on the valset, and each round is four waves (parent, reflection, child, valset), as on the path here; SIMBA has three waves a
step (runs, rules, programs) and one to compare the winners, of which those of known runs alone take no time here. `bare` is what
tasks that do nothing but sleep take for the same calls: a timer wakes late, by a millisecond or more on a busy machine.
"""

import argparse
import asyncio
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dspex
from dspex.plugin import Capabilities, LMRequest, LMResponse

DESKS = {"refund": "money", "invoice": "money", "parcel": "post", "courier": "post", "login": "help", "crash": "help"}
RULE = re.compile(r"(\w+) goes to (\w+)")


class Clerk:
    """Knows the desks that its instructions name; asked for instructions it adds two rules of those that it is told."""

    capabilities = Capabilities(chat=True)

    def __init__(self, delay: float) -> None:
        self.delay, self.waves = delay, 0
        self.widths: Counter[int] = Counter()  # calls by wave
        self.questions = 0  # for new instructions

    async def complete(self, request: LMRequest) -> LMResponse:
        wave = self.waves + 1
        self.widths[wave] += 1
        await asyncio.sleep(self.delay)
        self.waves = max(self.waves, wave)
        system, *_, last = (message.text for message in request.messages)
        names = re.findall(r"`\[\[ ## (\w+) ## \]\]`", last.rsplit("\n\n", 1)[-1])
        if "desk" in names:
            word = last.split("[[ ## ticket ## ]]")[1].split()[2]
            reply = {"desk": dict(RULE.findall(system)).get(word, "nobody")}
        else:
            self.questions += 1
            known, _, runs = last.partition("# Run 1")
            old = list(dict.fromkeys(RULE.findall(known)))
            new = [rule for rule in dict.fromkeys(RULE.findall(runs)) if rule not in old]
            text = " ".join(f"{word} goes to {desk}." for word, desk in [*old, *new[:2]])
            reply = {name: f'{{"self": "{text}"}}' if name == "module_advice" else text for name in names}
        parts = [f"[[ ## {name} ## ]]\n{text}" for name, text in {**reply, "completed": ""}.items()]
        return LMResponse.from_text("\n\n".join(parts), dspex.Usage(100, 5))


def told(gold: Any, pred: Any, _trace: Any = None, _name: Any = None, _steps: Any = None) -> dspex.Prediction:
    """The metric: it says where a ticket should have gone."""
    score = float(gold.desk == pred.desk)
    return dspex.Prediction(
        score=score, feedback="right" if score else f"{gold.ticket.split()[-1]} goes to {gold.desk}"
    )


def tickets(count: int, start: int) -> list[dspex.Example]:
    words = [(number, list(DESKS)[number % len(DESKS)]) for number in range(start, start + count)]
    return [dspex.Example(ticket=f"#{n}: a {word}", desk=DESKS[word]).with_inputs("ticket") for n, word in words]


STEPS = 6  # of SIMBA


def gepa(lm: Any) -> Any:
    return dspex.GEPA(
        told, max_metric_calls=600, reflection_lm=lm, reflection_minibatch_size=6, num_threads=100, use_merge=False
    )


def simba(_lm: Any) -> Any:
    return dspex.SIMBA(metric=told, bsize=8, num_candidates=4, max_steps=STEPS, num_threads=100)


def published(kind: Any, model: Clerk) -> int:
    """Waves of the published form."""
    return 1 + 4 * model.questions if kind is gepa else 3 * STEPS + 1


async def bare(widths: Iterable[int], delay: float) -> float:
    """Seconds of as many tasks that only sleep."""
    began = time.perf_counter()
    for width in widths:
        await asyncio.gather(*(asyncio.sleep(delay) for _ in range(width)))
    return time.perf_counter() - began


def compiled(kind: Any, start: int, delay: float, folder: Path) -> tuple[float, float, float, float, float]:
    """Seconds of a compile, of its path, of the processor, of the published waves and of bare tasks."""
    model = Clerk(delay)
    lm = dspex.LM("clerk", provider=model, cache=False)
    data = {"trainset": tickets(24, start), "valset": tickets(24, start + 500), "holdout": 0}
    with dspex.context(lm=lm):
        began, used = time.perf_counter(), time.process_time()
        kind(lm).compile(dspex.Predict("ticket -> desk"), **data, run_dir=folder / f"{start}")
        seconds, used = time.perf_counter() - began, time.process_time() - used
    least = asyncio.run(bare(model.widths.values(), delay))
    return seconds, model.waves * delay, used, published(kind, model) * delay, least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--delay", type=float, default=0.02)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"a call takes {1e3 * options.delay:.0f} ms, mean of {options.rounds}")
    print("optimizer   seconds    path   ratio     cpu   waves   ratio    bare   ratio")
    for kind in (gepa, simba):
        with tempfile.TemporaryDirectory() as folder:
            compiled(kind, 100_000, options.delay, Path(folder))  # imports, and whatever else is done once
            found = [compiled(kind, 1_000 * one, options.delay, Path(folder)) for one in range(options.rounds)]
        seconds, path, used, *others = (sum(one) / len(found) for one in zip(*found, strict=True))
        more = "".join(f" {other:7.2f} {seconds / other:7.2f}" for other in others)
        print(f"{kind.__name__:9} {seconds:9.2f} {path:7.2f} {seconds / path:7.2f} {used:7.2f}{more}")


if __name__ == "__main__":
    main()
