"""A task without a model behind it: numbers to be doubled, by a program of two predictors."""

import asyncio
import hashlib
import os
import random
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from dspex.app.lm import LM
from dspex.core.endpoint import Capabilities
from dspex.core.errors import BadRequest
from dspex.core.example import Example
from dspex.core.finetune import FineTuneSpec, FineTuneStatus
from dspex.core.messages import Choice, LMRequest, LMResponse
from dspex.core.usage import Usage
from dspex.program.module import Module
from dspex.program.predict import Predict

LOOKS = 3
MARKER = re.compile(r"\[\[ ## (\w+) ## \]\]")

Before = Callable[[int, LMRequest], Awaitable[None]]
Reply = Callable[[LMRequest], str | LMResponse | None]


class Oracle:
    """A provider whose reply follows from the request: numbers doubled, the more demos the more often rightly.

    Any other output is a word that depends on the request. What it has trained is right more often. `before(number, request)` is awaited in each call and may wait,
    fail or cancel; `own(request)` may answer itself; `requests` keeps what was asked, `most` how many calls ran at once.
    """

    capabilities = Capabilities(chat=True, n=True)

    def __init__(self, own: Reply, before: Before | None = None) -> None:
        self._own, self._before = own, before
        self.trainings: list[FineTuneSpec] = []
        self._looks: Counter[str] = Counter()
        self.requests: list[LMRequest] = []
        self.in_flight = self.most = 0

    async def complete(self, request: LMRequest) -> LMResponse:
        """The reply, always the same one for this request."""
        self.requests.append(request)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            if self._before is not None:
                await self._before(len(self.requests), request)
        finally:
            self.in_flight -= 1
        text = "\n".join(message.text for message in request.messages) + str(dict(request.params))
        own = self._own(request)
        if isinstance(own, LMResponse):
            return own
        if own or request.n == 1:
            return LMResponse((Choice(own or self._reply(request, text)),) * request.n, Usage(len(text), 5))
        texts = (self._reply(request, f"{text} {place}") for place in range(request.n))
        return LMResponse(tuple(map(Choice, texts)), Usage(len(text), 5 * request.n))

    async def finetune_start(self, spec: FineTuneSpec) -> str:
        """A job by the training's key, so that another process knows it too."""
        self.trainings.append(spec)
        return f"job-{spec.key}"

    async def finetune_status(self, job: str) -> FineTuneStatus:
        """It has succeeded when it is looked at for the third time."""
        self._looks[job] += 1
        if self._looks[job] < LOOKS:
            return FineTuneStatus("running")
        return FineTuneStatus("succeeded", f"trained-{job[-8:]}", usd=0.0)

    async def finetune_cancel(self, job: str) -> None:
        """It begins anew."""
        self._looks[job] = 0

    @staticmethod
    def _reply(request: LMRequest, text: str) -> str:
        draw = hashlib.blake2b(text.encode(), digest_size=2).hexdigest()
        last = request.messages[-1].text
        asked = re.findall(r"n=(\d+)", last)
        trained = 90 if request.model.startswith("trained") else 0
        right = int(draw[:2], 16) < 60 + 30 * (len(request.messages) // 2) + trained
        values = {"answer": str(2 * int(asked[-1]) if asked and right else 0), "completed": ""}
        names = MARKER.findall(last.rsplit("\n\n", 1)[-1])
        return "\n\n".join(f"[[ ## {name} ## ]]\n{values.get(name, f'word {draw}')}" for name in names)

    @property
    def lm(self) -> LM:
        """A handle without cache and retries."""
        return LM("contract/oracle", provider=self, cache=False, num_retries=0)


class Doubling(Module):
    """The program that is optimised: two predictors, the second of which reads what the first one wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.hint = Predict("question -> hint")
        self.answer = Predict("question, hint -> answer")

    async def aforward(self, question: str) -> Any:
        """A hint, then the answer."""
        hint = await self.hint.acall(question=question)
        return await self.answer.acall(question=question, hint=hint.hint)


def examples(count: int, start: int = 0) -> list[Example]:
    """Questions whose answers are twice their number."""
    numbers = range(start, start + count)
    return [Example(question=f"n={n}", answer=str(2 * n)).with_inputs("question") for n in numbers]


def number(example: Example) -> int:
    """The number of a question."""
    return int(example.question[2:])


def right(example: Example, prediction: Any, trace: Any = None) -> bool:  # noqa: ARG001  a metric's form
    """Whether the answer is right."""
    return bool(example.answer == prediction.answer)


def delays(seed: int, faults: float = 0.0) -> Before:
    """Calls that take up to 2 virtual seconds, of which a share fail."""
    rng = random.Random(seed)

    async def before(_number: int, _request: LMRequest) -> None:
        await asyncio.sleep(2 * rng.random())
        if rng.random() < faults:
            raise BadRequest("a fault by script")

    return before


def killed_at(call: int) -> Before:
    """As `delays(0)`, and at that call the process is gone."""
    late = delays(0)

    async def before(number: int, request: LMRequest) -> None:
        if number == call:
            os.kill(os.getpid(), signal.SIGKILL)
        await late(number, request)

    return before
