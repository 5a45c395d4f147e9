"""Servers to talk to: llama.cpp's own with a small real model, one that lies by script, and aimock, which speaks OpenAI's wire."""

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import pytest

import dspex
from dspex.testing import FaultServer
from dspex.testing.fault_ends import in_time
from dspex.testing.fixtures import a_clean_start, ask, mock, quick, server, stream

__all__ = ["a_clean_start", "ask", "mock", "quick", "server", "stream"]  # for pytest


class Llama(NamedTuple):
    """Where llama.cpp listens, and its key."""

    url: str
    key: str

    def lm(self, **more: Any) -> dspex.LM:
        """A model there, the same each time and without a second attempt."""
        base = {
            "api_base": f"{self.url}/v1",
            "api_key": self.key,
            "server": "llamacpp",
            "temperature": 0.0,
            "max_tokens": 6,
        }
        return dspex.LM(
            "openai/gemma-3-270m", **{**base, "cache": False, "num_retries": 0, "cache_prompt": False, **more}
        )


@pytest.fixture(scope="session")
def llama(llama_server: tuple[str, str]) -> Llama:
    """llama.cpp's HTTP server, as this package calls it."""
    return Llama(*llama_server)


@pytest.fixture
def lm(server: FaultServer) -> Callable[..., dspex.LM]:
    """Makes a model behind the scripted server; without a second attempt, so that a test sees the first failure."""

    def lm(model: str = "acme-1", **more: Any) -> dspex.LM:
        name = model if "/" in model else f"openai/{model}"
        return dspex.LM(name, **{"api_base": f"{server.url}/v1", "cache": False, "num_retries": 0, **more})

    return lm


@pytest.fixture(name="in_time")
def in_time_() -> Callable[[float, Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]]:
    """Runs a coroutine that must end within a time by its loop's own timers: a busy machine holds up both alike."""
    return in_time
