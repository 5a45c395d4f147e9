"""The kit for providers that bring their own way to a model, over a server that LiteLLM takes for OpenAI."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

import dspex_litellm
from dspex.plugin import Spec
from dspex.testing import FaultServer, LMInProcessContract

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # LiteLLM's own

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
ANSWER = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "acme-1", "usage": USAGE,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "One two."}, "finish_reason": "stop"}],
}  # fmt: skip


def piece(**delta: Any) -> dict[str, Any]:
    reason = delta.pop("finish_reason", None)
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "acme-1"}
    return {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


PIECES = [
    piece(role="assistant", content=""), piece(content="One"), piece(content=" two."), piece(finish_reason="stop"),
    {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "acme-1", "choices": [], "usage": USAGE},
]  # fmt: skip


class TestLiteLLM(LMInProcessContract):
    model = "openai/acme-1"
    cannot = ("grammar",)

    def spec(self) -> Spec:
        return dspex_litellm.dspex_lm_providers()[0]

    @contextmanager
    def served(self, *, streams: bool = False) -> Iterator[Mapping[str, Any]]:
        with FaultServer() as server:
            if streams:
                server.then_events(PIECES, times=None)
            else:
                server.then(200, json=ANSWER, times=None)
            yield {"api_base": f"{server.url}/v1", "api_key": "k"}
