"""How near GEPA and SIMBA come to their critical path: the seconds that their rounds would take if nothing but the model took any.

    python benchmarks/bench_paths.py [--delay 0.02] [--rounds 3] [--threads 64 8]

Both have their own defaults, on 24 to 100 examples; SIMBA also small batches. The model answers after `--delay` seconds: to a ticket with the desk that its instructions name, else with a guess, right as often as not where it is asked for a draw;
to a question for new instructions with two more rules.

The path is the longest chain of calls of which each began after another had ended; with `--threads` calls at once a wave that is wider
is several links. That it is as short as it can be is tested in virtual time (`test_runs.py` of dspex-gepa, `test_searches.py` of
dspex-optimizers), so the ratio is what the engine takes itself: rounds, journal, evidence. Goal: at most 1.2. A wave of n calls
takes n times what a call and its step take of the processor, so the ratio grows with the width of what goes out at once.
"""

import argparse
import asyncio
import functools
import hashlib
import heapq
import os
import re
import tempfile
import time
from collections import Counter
from typing import Any

import dspex
from dspex.plugin import Capabilities, LMRequest, LMResponse

WORDS = [
    f"{kind}-{item}" for kind in ("lost", "late", "broken", "double") for item in ("parcel", "refund", "login", "bill")
]
DESKS = {word: ("post", "money", "help")[number % 3] for number, word in enumerate(WORDS)}
RULE = re.compile(r"([\w-]+) goes to (\w+)")
FIELDS = re.compile(r"`\[\[ ## (\w+) ## \]\]`")
ASKED = "[[ ## ticket ## ]]\n"  # a question for a desk begins so, and the ticket with its number and "a"


class Bell:
    """Rings at exact times: a timer of asyncio is up to 2 ms late on Linux, which is a tenth of the delay.

    Without timerfd (Python 3.13, Linux) it is asyncio's.
    """

    _exact: Any = getattr(os, "timerfd_create", None)
    _set: Any = getattr(os, "timerfd_settime", None)

    def __init__(self) -> None:
        self._due: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self._fd = -1

    async def wait(self, seconds: float) -> None:
        """Return after so many seconds."""
        if self._exact is None:
            await asyncio.sleep(seconds)
            return
        loop = asyncio.get_running_loop()
        self._count += 1
        rung = loop.create_future()
        heapq.heappush(self._due, (time.perf_counter() + seconds, self._count, rung))
        if self._fd < 0:
            self._fd = self._exact(time.CLOCK_MONOTONIC)
            loop.add_reader(self._fd, self._ring, loop)
        if self._due[0][2] is rung:
            self._wind()
        await rung

    def _wind(self) -> None:
        self._set(self._fd, initial=max(1e-6, self._due[0][0] - time.perf_counter()))

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        os.read(self._fd, 8)
        while self._due and self._due[0][0] <= time.perf_counter():
            rung = heapq.heappop(self._due)[2]
            if not rung.done():
                rung.set_result(None)
        if self._due:
            self._wind()
            return
        loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1


def marked(fields: dict[str, str]) -> str:
    """As ChatAdapter reads it."""
    return "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in {**fields, "completed": ""}.items())


DESK_REPLIES = {desk: marked({"desk": desk}) for desk in (*DESKS.values(), "nobody")}


@functools.cache
def rules(system: str) -> dict[str, str]:
    """What instructions say; once for each, or the model would take a sixth of the processor."""
    return dict(RULE.findall(system))


class Clerk:
    """Knows the desks that its instructions name; asked for instructions it adds two rules of those that it is told."""

    capabilities = Capabilities(chat=True)

    def __init__(self, delay: float) -> None:
        self.delay, self.links = delay, 0
        self.calls = self.questions = 0  # for new instructions
        self._bell = Bell()
        self._drawn: Counter[str] = Counter()

    async def complete(self, request: LMRequest) -> LMResponse:
        began, link = time.perf_counter(), self.links + 1
        self.calls += 1
        reply = self._reply(request)
        await self._bell.wait(self.delay - (time.perf_counter() - began))  # what it does itself is within its delay
        self.links = max(self.links, link)
        return reply

    def _reply(self, request: LMRequest) -> LMResponse:
        last = request.messages[-1].text
        if last.startswith(ASKED):
            word = last[len(ASKED) :].split(None, 3)[2]
            desk = rules(request.messages[0].text).get(word) or self._guess(word, request, last)
            return LMResponse.from_text(DESK_REPLIES[desk], dspex.Usage(100, 5))
        self.questions += 1
        text = self._instructions(last)
        names = FIELDS.findall(last.rsplit("\n\n", 1)[-1])
        found = {name: f'{{"self": "{text}"}}' if name == "module_advice" else text for name in names}
        return LMResponse.from_text(marked(found), dspex.Usage(100, 5))

    def _guess(self, word: str, request: LMRequest, last: str) -> str:
        if not request.params.get("temperature"):
            return "nobody"
        self._drawn[last] += 1
        return DESKS[word] if hashlib.blake2b(f"{last}{self._drawn[last]}".encode()).digest()[0] % 2 else "nobody"

    @staticmethod
    def _instructions(asked: str) -> str:
        known, _, runs = asked.partition("# Run 1")
        old = dict.fromkeys(RULE.findall(known))
        new = [rule for rule in dict.fromkeys(RULE.findall(runs)) if rule not in old]
        return " ".join(f"{word} goes to {desk}." for word, desk in [*old, *new[:2]])


def told(gold: Any, pred: Any, _trace: Any = None, _name: Any = None, _steps: Any = None) -> dspex.Prediction:
    """The metric: it says where a ticket should have gone."""
    score = float(gold.desk == pred.desk)
    return dspex.Prediction(
        score=score, feedback="right" if score else f"{gold.ticket.split()[-1]} goes to {gold.desk}"
    )


def tickets(count: int, start: int) -> list[dspex.Example]:
    words = [(number, WORDS[number % len(WORDS)]) for number in range(start, start + count)]
    return [dspex.Example(ticket=f"#{n}: a {word}", desk=DESKS[word]).with_inputs("ticket") for n, word in words]


def gepa(lm: Any, threads: int) -> Any:
    return dspex.GEPA(told, auto="light", reflection_lm=lm, num_threads=threads)


def simba(_lm: Any, threads: int) -> Any:
    return dspex.SIMBA(metric=told, num_threads=threads)


def small_simba(_lm: Any, threads: int) -> Any:
    return dspex.SIMBA(metric=told, bsize=8, num_candidates=4, num_threads=threads)


CASES = ((gepa, 24), (gepa, 40), (gepa, 100), (small_simba, 24), (simba, 60))


def compiled(kind: Any, model: Clerk, start: int, examples: int, threads: int, folder: str) -> tuple[float, float]:  # noqa: PLR0917  of one place
    """Seconds of a compile, and of the processor."""
    lm = dspex.LM("clerk", provider=model, cache=False)
    data = {"trainset": tickets(examples, start), "valset": tickets(examples, start + 500), "holdout": 0}
    with dspex.context(lm=lm):
        began, used = time.perf_counter(), time.process_time()
        kind(lm, threads).compile(dspex.Predict("ticket -> desk"), **data, run_dir=f"{folder}/{start}")
        return time.perf_counter() - began, time.process_time() - used


def row(kind: Any, examples: int, threads: int, rounds: int, delay: float) -> list[float]:
    """Means: calls; seconds of a compile, of its path, and of the processor."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            model = Clerk(delay)
            seconds, used = compiled(kind, model, 1_000 * number, examples, threads, folder)
            found.append((model.calls, seconds, model.links * delay, used))
    # The first one imports, and does whatever else is done once.
    return [sum(column) / rounds for column in zip(*found[1:], strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--delay", type=float, default=0.02)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[64, 8], help="calls at once: 64 is dspex's default, 8 is DSPy's"
    )
    options = parser.parse_args()
    print(f"a call takes {1e3 * options.delay:.0f} ms, mean of {options.rounds}")
    print("optimizer   examples threads   calls seconds    path   ratio     cpu")
    for kind, examples in CASES:
        for threads in options.threads:
            calls, seconds, path, used = row(kind, examples, threads, options.rounds, options.delay)
            print(
                f"{kind.__name__:11} {examples:8} {threads:7} {calls:7.0f} {seconds:7.2f} {path:7.2f} {seconds / path:7.2f} {used:7.2f}"
            )


if __name__ == "__main__":
    main()
