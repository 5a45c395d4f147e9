"""The kit for providers, over replies recorded from aimock, a mock of Google's wire."""

from pathlib import Path
from types import MappingProxyType
from typing import Any

import dspex
import dspex_gemini
from dspex.plugin import Choice, Spec, ToolCall
from dspex.testing import EmbeddingProviderContract, LMProviderContract, Recording
from dspex_gemini.schemas import REPLY_TOOL

RECORDED = Path(__file__).parent / "recorded"
LOOK_UP = ToolCall("call_0", "look_up", '{"city": "Oslo", "days": 2}')


def recorded(name: str, means: Choice, usage: dspex.Usage) -> Recording:
    reply, events = (RECORDED / f"{name}{kind}" for kind in (".json", ".sse"))
    return Recording(reply.read_bytes().strip(), events.read_bytes(), means, usage)


def by_tool() -> Recording:
    """The call of the mock, as if it were that of the function which a schema becomes beside tools."""
    call = recorded("call", Choice(""), dspex.Usage())
    reply, events = (one.replace(b"look_up", REPLY_TOOL.encode()) for one in (call.reply, call.events))
    return Recording(reply, events, Choice('Let me look.{"city":"Oslo","days":2}', (), "stop"), dspex.Usage(31, 17))


class TestGemini(LMProviderContract):
    model = "gemini-2.5-flash"
    cannot = ("grammar", "logit_bias")

    def spec(self) -> Spec:
        return dspex_gemini.dspex_lm_providers()[0]

    def recordings(self) -> dict[str, Recording]:
        text = Choice("Write the word café and a smile 😀.<|im_", (), "length")
        return {
            "text": recorded("text", text, dspex.Usage(32, 12)),
            "call": recorded("call", Choice("Let me look.", (LOOK_UP,), "tool_calls"), dspex.Usage(31, 17)),
            "thought": recorded("thought", Choice("Four.", reasoning="Two and two."), dspex.Usage(9, 8)),
            "reply by tool": by_tool(),
        }


class TestEmbedder(EmbeddingProviderContract):
    model = "e-1"

    def spec(self) -> Spec:
        return dspex_gemini.dspex_embedders()[0]

    def reply(self, asked: Any) -> Any:
        texts = [one["content"]["parts"][0]["text"] for one in asked["requests"]]
        rows = [{"values": self.row(text)} for text in texts]
        return {"embeddings": rows, "usageMetadata": {"promptTokenCount": self.tokens(texts)}}


class TestVertex(TestGemini):
    base_path = "/v1"
    options = MappingProxyType({"project": "p-1", "location": "europe-west4"})

    def spec(self) -> Spec:
        return dspex_gemini.dspex_lm_providers()[1]


class TestVertexEmbedder(EmbeddingProviderContract):
    model = "text-embedding-005"
    base_path = "/v1"
    options = MappingProxyType({"project": "p-1"})

    def spec(self) -> Spec:
        return dspex_gemini.dspex_embedders()[1]

    def reply(self, asked: Any) -> Any:
        texts = [one["content"] for one in asked["instances"]]
        rows = [{"values": self.row(text), "statistics": {"token_count": self.tokens([text])}} for text in texts]
        return {"predictions": [{"embeddings": row} for row in rows]}
