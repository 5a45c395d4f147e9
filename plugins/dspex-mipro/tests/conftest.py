"""A model by rule: demonstrations and a good instruction make it right more often; and it proposes instructions."""

import asyncio
import hashlib
import re
from types import SimpleNamespace
from typing import Any

import pytest

import dspex
from dspex.plugin import Capabilities, LMRequest, LMResponse
from dspex.testing.fixtures import a_clean_start

__all__ = ["a_clean_start"]  # for pytest

MARKER = re.compile(r"\[\[ ## (\w+) ## \]\]")


def asked_for(text: str) -> str:
    """The output that a message asks for, in markers or, where a reply was not readable, in JSON."""
    named = MARKER.findall(text.rsplit("\n\n", 1)[-1]) or re.findall(r"`(\w+)` \(", text)
    return next(name for name in named if name != "completed")


class Doubler:
    """Doubles numbers for a share of them that grows with demonstrations and with the word that a proposal has.

    `asked` are the requests by the output that they ask for, `broken` outputs that come in no readable form, `says` what
    others are, `seconds` what a call takes. `waves` counts calls that had to wait for one another.
    """

    capabilities = Capabilities(chat=True)

    def __init__(self, seconds: float = 0.0) -> None:
        self.asked: dict[str, list[LMRequest]] = {}
        self.broken: set[str] = set()
        self.says: dict[str, str] = {}
        self.seconds = seconds
        self.waves = 0

    @property
    def calls(self) -> int:
        """How many there were."""
        return sum(map(len, self.asked.values()))

    def texts(self, output: str) -> list[str]:
        """What was written to ask for this output, the request's last message."""
        return [request.messages[-1].text for request in self.asked.get(output, ())]

    async def complete(self, request: LMRequest) -> LMResponse:
        wave = self.waves + 1
        if self.seconds:
            await asyncio.sleep(self.seconds)
        self.waves = max(self.waves, wave)
        text = "\n".join(message.text for message in request.messages) + str(dict(request.params))
        draw = hashlib.blake2b(text.encode(), digest_size=2).digest()
        output = asked_for(request.messages[-1].text)
        self.asked.setdefault(output, []).append(request)
        if output in self.broken:
            return LMResponse.from_text("I would rather not.", dspex.Usage(len(text), 5))
        value = self.says.get(output, f"{output} {draw.hex()}, with care")
        if output == "answer":
            value = self._doubled(request, draw)
        return LMResponse.from_text(
            f"[[ ## {output} ## ]]\n{value}\n\n[[ ## completed ## ]]", dspex.Usage(len(text), 5)
        )

    @staticmethod
    def _doubled(request: LMRequest, draw: bytes) -> str:
        number = int(re.findall(r"n=(\d+)", request.messages[-1].text)[-1])
        told = "with care" in request.messages[0].text
        right = draw[0] < 60 + 20 * (len(request.messages) // 2) + 60 * told
        return str(2 * number) if right else "no idea"


@pytest.fixture
def model() -> Doubler:
    """The model of the test, set as the App's."""
    doubler = Doubler()
    dspex.configure(lm=dspex.LM("doubler", provider=doubler, cache=False))
    return doubler


@pytest.fixture
def data() -> Any:
    """40 training examples, 20 to validate."""

    def examples(start: int, count: int) -> list[dspex.Example]:
        numbers = range(start, start + count)
        return [dspex.Example(question=f"n={n}", answer=str(2 * n)).with_inputs("question") for n in numbers]

    return SimpleNamespace(trainset=examples(0, 40), valset=examples(100, 20), examples=examples)


@pytest.fixture
def student() -> dspex.Predict:
    """A bare program."""
    return dspex.Predict("question -> answer")


class TwoSteps(dspex.Module):
    """A program of two predictors."""

    def __init__(self) -> None:
        super().__init__()
        self.hint = dspex.Predict("question -> hint")
        self.answer = dspex.Predict("question, hint -> answer")

    def forward(self, question: str) -> Any:
        """A hint, then the answer."""
        return self.answer(question=question, hint=self.hint(question=question).hint)


@pytest.fixture
def two_steps() -> TwoSteps:
    """A program of two predictors, bare."""
    return TwoSteps()


@pytest.fixture
def right() -> Any:
    """The metric."""
    return lambda example, prediction, trace=None: example.answer == prediction.answer
