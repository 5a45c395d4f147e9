"""A server that lies by script, and aimock, which speaks Google's wire."""

import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dspex
from dspex.plugin import LMDelta, LMResponse
from dspex.testing import MOCKED, FaultServer, QuickClock, WireMock, WireMockMissing, ask, pieces, reset


@pytest.fixture(scope="session")
def mock() -> Iterator[WireMock]:
    """aimock; before any test has a cache folder of its own, so that it is installed once."""
    try:
        with WireMock(MOCKED) as mock:
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


@pytest.fixture(name="ask")
def ask_() -> Callable[..., Awaitable[LMResponse]]:
    """One call, by the way that Predict takes."""
    return ask


@pytest.fixture
def stream() -> Callable[..., AsyncIterator[LMDelta]]:
    """As `ask`, in pieces."""
    return pieces


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
