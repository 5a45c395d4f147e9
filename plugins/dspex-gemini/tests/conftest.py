"""A server that lies by script, and aimock, which speaks Google's wire."""

import gc
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dspex
from dspex.plugin import LMDelta, LMResponse, Message
from dspex.testing import FaultServer, WireMock, WireMockMissing, reset

FIXTURES = [
    {
        "match": {"userMessage": "plain"},
        "response": {"content": "Write the word café and a smile 😀.", "usage": {"prompt_tokens": 9, "completion_tokens": 8}},
    },
    {
        "match": {"userMessage": "tool"},
        "response": {"content": "Let me look.", "toolCalls": [{"name": "look_up", "arguments": {"city": "Oslo", "days": 2}}]},
    },
    {"match": {"userMessage": "think"}, "response": {"content": "Four.", "reasoning": "Two and two."}},
    {
        "match": {"userMessage": "slow"},
        "response": {"error": {"message": "no", "type": "RESOURCE_EXHAUSTED"}, "status": 429},
    },
    {"match": {"userMessage": "broken"}, "response": {"content": "x"}, "chaos": {"malformedRate": 1}},
    {"match": {"userMessage": "gone"}, "response": {"content": "x"}, "chaos": {"disconnectRate": 1}},
]  # fmt: skip


@pytest.fixture(scope="session")
def mock() -> Iterator[WireMock]:
    """aimock; before any test has a cache folder of its own, so that it is installed once."""
    try:
        with WireMock(FIXTURES) as mock:
            yield mock
    except WireMockMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def a_clean_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No key, address or cache of the machine's user, and an App of its own for each test."""
    gc.collect()
    gc.freeze()  # what was there before is set aside: the collection after the test is cheap
    for name in ("GEMINI_API_KEY", "GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DSPEX_CACHE_DIR", str(tmp_path))
    yield
    reset()
    gc.collect()  # what is left open warns now, and warnings are errors


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def lm(server: FaultServer) -> Callable[..., dspex.LM]:
    """Makes a model behind the scripted server; without a second attempt, so that a test sees the first failure."""

    def lm(model: str = "acme-1", **more: Any) -> dspex.LM:
        return dspex.LM(f"gemini/{model}", **{"api_base": server.url, "cache": False, "num_retries": 0, **more})

    return lm


@pytest.fixture
def ask() -> Callable[..., Awaitable[LMResponse]]:
    """One call, by the way that Predict takes."""

    async def ask(
        lm: dspex.LM, *said: Message | str, tools: Any = (), schema: Any = None, n: int = 1, **params: Any
    ) -> LMResponse:
        turns = tuple(Message.of("user", one) if isinstance(one, str) else one for one in said or ("Hello?",))
        return await lm.complete(lm.request(turns, params, tools=tools, schema=schema, n=n))

    return ask


@pytest.fixture
def stream() -> Callable[..., AsyncIterator[LMDelta]]:
    """As `ask`, in pieces."""

    def stream(lm: dspex.LM, *said: str, **params: Any) -> AsyncIterator[LMDelta]:
        return lm.stream(lm.request(tuple(Message.of("user", one) for one in said or ("Hello?",)), params))

    return stream


class QuickClock:
    """The machine's clock, but for waits between attempts, which are only noted."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def app(self) -> dspex.App:
        """An App that lives by this clock."""
        return dspex.App(clock=self)


@pytest.fixture
def quick() -> QuickClock:
    return QuickClock()


@pytest.fixture
def reply() -> Callable[..., dict[str, Any]]:
    """Makes a reply of one candidate; a text stands for its part."""

    def reply(*parts: Any, reason: str | None = "STOP", **more: Any) -> dict[str, Any]:
        made = [{"text": part} if isinstance(part, str) else part for part in parts]
        ended = {"finishReason": reason} if reason else {}
        candidate = {"content": {"role": "model", "parts": made}, "index": 0, **ended}
        return {"candidates": [candidate], "modelVersion": "acme-1-0", "responseId": "r1", **more}

    return reply
