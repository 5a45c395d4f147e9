"""Programs that executors are tried with: at the top of a module, with a model of their own, so that any process makes them again."""

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Any

from dspex.app.current import context
from dspex.app.lm import LM
from dspex.core.candidate import Demo
from dspex.core.endpoint import Capabilities
from dspex.core.errors import BadRequest
from dspex.core.example import Example, Prediction
from dspex.core.messages import LMRequest, LMResponse
from dspex.core.usage import Usage
from dspex.engine.optimizer import Optimizer
from dspex.program.module import Module
from dspex.program.predict import Predict

COST = Usage(100, 5)


class Noted:
    """A provider that doubles numbers, and notes each call in the file that the question names, whichever process it runs in.

    To "n=13" it gives what cannot be read; the more demos it sees, the more often it is right.
    """

    capabilities = Capabilities(chat=True)

    async def complete(self, request: LMRequest) -> LMResponse:
        """The reply, always the same one for this request."""
        asked = request.messages[-1].text
        number = int(re.findall(r"n=(\d+)", asked)[-1])
        if found := re.findall(r"in (\S+)", asked):
            note(found[-1], f"{number}")
        await asyncio.sleep(0)
        if number == 13:
            return LMResponse.from_text("[[ ## answer ## ]]\nno number\n\n[[ ## completed ## ]]", COST)
        text = "\n".join(message.text for message in request.messages if message.role == "assistant")
        right = number % 3 < 1 + len(text) // 20 + len(dict(request.params))
        return LMResponse.from_text(f"[[ ## answer ## ]]\n{2 * number if right else 0}\n\n[[ ## completed ## ]]", COST)


class Doubles(Module):
    """One call to its own model; the answer is an int."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = Predict("question -> answer: int")
        self.model = LM("errands/noted", provider=Noted(), cache=False, num_retries=0)

    async def aforward(self, question: str) -> Any:
        """The answer."""
        with context(lm=self.model, max_reasks=0):
            return await self.predict.acall(question=question)


class Chained(Module):
    """`steps` calls, one after another, so that it can be stopped between two of them."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = Predict("question -> answer: int")
        self.model = LM("errands/noted", provider=Noted(), cache=False, num_retries=0)

    async def aforward(self, question: str, steps: int) -> Any:
        """The sum of all answers."""
        total = 0
        with context(lm=self.model):
            for step in range(steps):
                total += (await self.predict.acall(question=question.replace("n=", f"n={step}0"))).answer
        return Prediction(answer=total)


class Acts(Module):
    """Does what it is told, by the name of an act."""

    async def aforward(self, act: str, value: str) -> Any:
        """What comes of it."""
        return await getattr(self, f"_{act}")(value)

    async def _echo(self, value: str) -> Any:
        return Prediction(value=value)

    async def _pid(self, _value: str) -> Any:
        return Prediction(value=os.getpid())

    async def _raise(self, value: str) -> Any:
        raise ValueError(value)

    async def _refuse(self, value: str) -> Any:
        raise BadRequest(value)

    async def _exit(self, value: str) -> Any:
        raise SystemExit(value)

    async def _print(self, value: str) -> Any:
        os.write(1, f"{value}\n".encode())
        return Prediction(value=value)

    async def _odd(self, value: str) -> Any:
        return Prediction(value=object(), about=value)

    async def _bare(self, value: str) -> Any:
        return value

    async def _wait(self, value: str) -> Any:
        note(value, f"{os.getpid()}")
        try:
            await asyncio.Event().wait()
        finally:
            note(value, "ended")

    async def _die(self, value: str) -> Any:
        note(value, "died")
        os.kill(os.getpid(), signal.SIGKILL)

    async def _die_once(self, value: str) -> Any:
        if not notes(Path(value)):
            await self._die(value)
        note(value, "lived")
        return Prediction(value="lived")


class Computes(Module):
    """Holds a processor in plain Python; no model."""

    def forward(self, rounds: int, log: str = "") -> Any:
        """A number that depends on all rounds; which process begins with it is noted in `log`."""
        if log:
            note(log, f"{os.getpid()}")
        found = 0
        for number in range(rounds):
            found = (31 * found + number) % 1_000_003
        return Prediction(found=found)


class Climbs(Optimizer):
    """A small search: demos of what passes, raced with the student; `wanted` of them, for each of three seeds."""

    def __init__(self, metric: Any, wanted: int = 2) -> None:
        self.metric = metric
        self.wanted = wanted

    async def run(self, ctx: Any) -> Any:
        """The winner of the race."""
        made = await ctx.gather(*(self._one(ctx, seed) for seed in range(3)))
        race = await ctx.race([ctx.consider(ctx.student, "student"), *made], ctx.val, z=1.64)
        return race.winner

    async def _one(self, ctx: Any, seed: int) -> Any:
        train = list(ctx.train)
        ctx.rng(f"shuffle/{seed}").shuffle(train)
        passed = await ctx.collect(ctx.student, train, self.wanted, rounds=2)
        demos = {path: tuple(_demos(passed, path)) for path in ctx.student.predictors}
        return ctx.consider(ctx.student.with_demos(demos), f"set {seed}")


def _demos(passed: Any, path: str) -> Any:
    for rollout in passed:
        for step in rollout.trace:
            if step.predictor == path:
                yield Demo({**step.inputs, **step.outputs}, True, rollout.example)


def questions(count: int, log: Path | None = None, start: int = 0) -> list[Example]:
    """Numbers to be doubled, without the one that cannot be; calls are noted in `log`."""
    numbers = [number for number in range(start, start + count + 1) if number != 13][:count]
    where = f" in {log}" if log is not None else ""
    return [Example(question=f"n={n}{where}", answer=2 * n).with_inputs("question") for n in numbers]


def acts(*told: tuple[str, Any]) -> list[Example]:
    """Examples for `Acts`."""
    return [Example(act=act, value=str(value)).with_inputs("act", "value") for act, value in told]


def right(example: Example, prediction: Any, trace: Any = None) -> bool:  # noqa: ARG001  a metric's form
    """Whether the answer is right, and an int."""
    return type(prediction.answer) is int and bool(prediction.answer == example.answer)


def ended(_example: Example, _prediction: Any) -> float:
    """It came to an end."""
    return 1.0


def note(path: str, text: str) -> None:
    """Add a line to a file, whole even where many processes do."""
    with Path(path).open("ab", buffering=0) as file:
        file.write(f"{text}\n".encode())


def notes(path: Path) -> list[str]:
    """The lines so far."""
    return path.read_text().splitlines() if path.exists() else []
