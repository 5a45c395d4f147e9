"""A server that lies by script, and aimock, which speaks Google's wire."""

from collections.abc import Callable
from typing import Any

import pytest

import dspex
from dspex.testing import FaultServer
from dspex.testing.fixtures import a_clean_start, ask, mock, quick, server, stream

__all__ = ["a_clean_start", "ask", "mock", "quick", "server", "stream"]  # for pytest


@pytest.fixture
def lm(server: FaultServer) -> Callable[..., dspex.LM]:
    """Makes a model behind the scripted server; without a second attempt, so that a test sees the first failure."""

    def lm(model: str = "acme-1", **more: Any) -> dspex.LM:
        return dspex.LM(f"gemini/{model}", **{"api_base": server.url, "cache": False, "num_retries": 0, **more})

    return lm


@pytest.fixture
def reply() -> Callable[..., dict[str, Any]]:
    """Makes a reply of one candidate; a text stands for its part."""

    def reply(*parts: Any, reason: str | None = "STOP", **more: Any) -> dict[str, Any]:
        made = [{"text": part} if isinstance(part, str) else part for part in parts]
        ended = {"finishReason": reason} if reason else {}
        candidate = {"content": {"role": "model", "parts": made}, "index": 0, **ended}
        return {"candidates": [candidate], "modelVersion": "acme-1-0", "responseId": "r1", **more}

    return reply
