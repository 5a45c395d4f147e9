"""Providers that count what reaches them."""

from typing import Any

import pytest

import dspex
from dspex.plugin import LMDelta, LMResponse, Usage


class Live:
    """An LMProvider that answers with the number of the call, or with the next of its scripted answers."""

    capabilities = dspex.Capabilities(chat=True, stream=True, n=True)

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = 0

    def answer(self) -> str:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else f"[[ ## answer ## ]]\n{self.asked}"
        if isinstance(answer, BaseException):
            raise answer
        return str(answer)

    async def complete(self, request: Any) -> LMResponse:
        return LMResponse.from_text(self.answer(), Usage(10, 5, calls=1))

    async def stream(self, request: Any) -> Any:
        text = self.answer()
        for at in range(0, len(text), 7):
            yield LMDelta(text[at : at + 7])
        yield LMDelta("", finish_reason="stop", usage=Usage(10, 5, calls=1))


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is installed, these tests use none of it."""
    monkeypatch.setenv("DSPEX_PLUGINS", "none")


@pytest.fixture
def live() -> type[Live]:
    """The class Live."""
    return Live
