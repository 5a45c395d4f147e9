"""A server that lies by script, and aimock, which speaks Ollama's wire."""

import json
from collections.abc import Callable
from typing import Any

import pytest

import dspex
from dspex.testing import FaultServer
from dspex.testing.fixtures import a_clean_start, ask, mock, quick, server, stream

__all__ = ["a_clean_start", "ask", "mock", "quick", "server", "stream"]  # for pytest

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def lm(server: FaultServer) -> Callable[..., dspex.LM]:
    """Makes a model behind the scripted server; without a second attempt, so that a test sees the first failure."""

    def lm(model: str = "acme-1", **more: Any) -> dspex.LM:
        return dspex.LM(
            f"ollama/{model}", **{"api_base": server.url, "cache": False, "num_retries": 0, "learn": False, **more}
        )

    return lm


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
