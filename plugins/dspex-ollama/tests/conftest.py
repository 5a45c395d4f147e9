"""A server that lies by script, and aimock, which speaks Ollama's wire."""

import gc
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dspex
from dspex.plugin import LMDelta, LMResponse
from dspex.testing import MOCKED, FaultServer, QuickClock, WireMock, WireMockMissing, ask, pieces, reset

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


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
    for name in ("OLLAMA_API_KEY", "OLLAMA_HOST"):
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
        return dspex.LM(
            f"ollama/{model}", **{"api_base": server.url, "cache": False, "num_retries": 0, "learn": False, **more}
        )

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
    """Makes a reply, or a line of a stream."""

    def reply(text: str | None = "", *, done: bool = True, **more: Any) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, **more.pop("message", {})}
        end = {"done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2} if done else {}
        return {"model": "acme-1", "message": message, "done": done, **end, **more}

    return reply


@pytest.fixture
def lines(server: FaultServer) -> Callable[..., FaultServer]:
    """Scripts a stream of lines."""

    def lines(*given: Any, **how: Any) -> FaultServer:
        data = [one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n" for one in given]
        chunks = [b"%x\r\n%s\r\n" % (len(one), one) for one in data]
        end = [] if how.get("end") else [b"0\r\n\r\n"]
        return server.then_raw(HEAD, *chunks, *end, **{"end": "keep", **how})

    return lines
