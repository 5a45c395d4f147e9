"""A model by rule: the more demonstrations, the more questions it gets right."""

import asyncio
import hashlib
import re
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

import dspex
from dspex.plugin import Capabilities, Choice, LMRequest, LMResponse
from dspex.testing.fixtures import a_clean_start

__all__ = ["a_clean_start"]  # for pytest


class Doubler:
    """Doubles numbers, wrongly for a share of them that falls with the demonstrations; `prompts` keeps what was asked."""

    capabilities = Capabilities(chat=True)

    def __init__(self) -> None:
        self.prompts: list[str] = []

    async def complete(self, request: LMRequest) -> LMResponse:
        text = "\n".join(message.text for message in request.messages) + str(dict(request.params))
        self.prompts.append(text)
        number = int(re.findall(r"n=(\d+)", request.messages[-1].text)[-1])
        draw = hashlib.blake2b(text.encode(), digest_size=1).digest()[0]
        right = draw < 60 + 40 * (len(request.messages) // 2)
        answer = str(2 * number) if right else "no idea"
        return LMResponse.from_text(f"[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]", dspex.Usage(len(text), 5))


class Writer:
    """Doubles numbers, and writes what an optimizer asks it to.

    How often it is right follows from the words of the prompt, and when from the request, for one that comes again from how often
    it came.
    `texts` are the answers for outputs by name, or functions of a random word, which give None for a reply that cannot be read;
    another output than a program's `answer` is a word of its own for each reply. `seconds` is what a call takes.
    """

    def __init__(self, *, n: bool = False, seconds: float = 0.0, **texts: Any) -> None:
        self.capabilities = Capabilities(chat=True, n=n)
        self.texts, self.seconds = texts, seconds
        self.requests: list[LMRequest] = []
        self._times: Counter[str] = Counter()

    async def complete(self, request: LMRequest) -> LMResponse:
        self.requests.append(request)
        self._times[told(request)] += 1
        times = self._times[told(request)]
        if self.seconds:
            await asyncio.sleep(self.seconds)
        choices = tuple(Choice(self._reply(request, place + 100 * times)) for place in range(request.n))
        return LMResponse(choices, dspex.Usage(calls=1, input_tokens=10, output_tokens=5), request.model)

    def _reply(self, request: LMRequest, place: int) -> str:
        text = told(request) + str(dict(request.params)) + str(place)
        draw = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
        number = re.findall(r"n=(\d+)", request.messages[-1].text)
        skill = hashlib.blake2b(re.sub(r"\d+", "", told(request)).encode(), digest_size=1).digest()[0]
        right = int(draw[:2], 16) < skill
        fields = {"answer": str(2 * int(number[-1])) if number and right else "no idea", "completed": "", **self.texts}
        names = re.findall(r"\[\[ ## (\w+) ## \]\]", request.messages[-1].text.rsplit("\n\n", 1)[-1])
        values = {name: fields.get(name, f"word {draw}") for name in names}
        made = {name: value(draw) if callable(value) else value for name, value in values.items()}
        if None in made.values():
            return "I would rather not."
        return "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in made.items())

    def asked(self, output: str) -> list[str]:
        """The requests for an output of that name."""
        texts = [told(request) for request in self.requests]
        return [text for text in texts if f"[[ ## {output} ## ]]" in text.rsplit("\n\n", 1)[-1]]


def told(request: LMRequest) -> str:
    """All that a request says."""
    return "\n".join(message.text for message in request.messages)


class Two(dspex.Module):
    """A program of two predictors; the second one reads what the first one wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.hint, self.solve = dspex.Predict("question -> hint"), dspex.Predict("question, hint -> answer")

    async def aforward(self, question: str) -> Any:
        hint = await self.hint.acall(question=question)
        return await self.solve.acall(question=question, hint=hint.hint)


@pytest.fixture
def writer() -> Any:
    """Makes a Writer the App's model."""

    def made(**options: Any) -> Writer:
        model = Writer(**options)
        dspex.configure(lm=dspex.LM("writer", provider=model, cache=False, num_retries=0))
        return model

    return made


@pytest.fixture
def two() -> dspex.Module:
    """A program of two predictors."""
    return Two()


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


@pytest.fixture
def right() -> Any:
    """The metric."""
    return lambda example, prediction, trace=None: example.answer == prediction.answer
