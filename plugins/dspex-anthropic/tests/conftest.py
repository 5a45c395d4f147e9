"""Servers to talk to: llama.cpp's own with a small real model, one that lies by script, and aimock, which speaks the wire."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import dspex
from dspex.testing import FaultServer
from dspex.testing.fixtures import a_clean_start, ask, mock, quick, server, stream

__all__ = ["a_clean_start", "ask", "mock", "quick", "server", "stream"]  # for pytest


class Llama(NamedTuple):
    """Where llama.cpp listens, and its key."""

    url: str
    key: str

    def lm(self, **more: Any) -> dspex.LM:
        """A model there, the same each time and without a second attempt."""
        base = {
            "api_base": self.url,
            "api_key": self.key,
            "temperature": 0.0,
            "max_tokens": 6,
        }
        return dspex.LM("anthropic/gemma-3-270m", **{**base, "cache": False, "num_retries": 0, **more})


@pytest.fixture(scope="session")
def llama(llama_server: tuple[str, str]) -> Llama:
    """llama.cpp's HTTP server, as this package calls it."""
    return Llama(*llama_server)


@pytest.fixture
def lm(server: FaultServer) -> Callable[..., dspex.LM]:
    """Makes a model behind the scripted server; without a second attempt, so that a test sees the first failure."""

    def lm(model: str = "acme-1", **more: Any) -> dspex.LM:
        return dspex.LM(f"anthropic/{model}", **{"api_base": server.url, "cache": False, "num_retries": 0, **more})

    return lm


@pytest.fixture
def events() -> Callable[..., list[str]]:
    """A stream of one text, in pieces."""

    def events(*texts: str, stop_reason: str = "end_turn") -> list[str]:
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        deltas = [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts
        ]
        head = {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 3, "output_tokens": 1}}}
        last = {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": {"output_tokens": 2}}
        return [sse(one) for one in (head, block, *deltas, last, {"type": "message_stop"})]

    return events


def sse(event: dict[str, Any]) -> str:
    """An event as Anthropic writes it."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
