"""A model by rule: the more demonstrations, the more questions it gets right."""

import gc
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dspex
from dspex.plugin import Capabilities, LMRequest, LMResponse
from dspex.testing import reset


@pytest.fixture(autouse=True)
def a_clean_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Runs and caches below the test's folder, and an App of its own for each test."""
    monkeypatch.setenv("DSPEX_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("DSPEX_CACHE_DIR", str(tmp_path / "cache"))
    yield
    reset()
    gc.collect()  # what is left open warns now, and warnings are errors


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
