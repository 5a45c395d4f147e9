"""The kit for providers, over replies recorded from llama.cpp's server (text) and from aimock, a mock of OpenAI's wire."""

import base64
from array import array
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dspex
import dspex_openai
from dspex.plugin import Choice, Spec, ToolCall
from dspex.testing import EmbeddingProviderContract, LMProviderContract, Recording

RECORDED = Path(__file__).parent / "recorded"
LOOK_UP = ToolCall("call_1", "look_up", '{"city": "Oslo", "days": 2}')


def recorded(name: str, means: Choice, usage: dspex.Usage) -> Recording:
    """One of the folder's recordings; those of the Responses API stand in one of their own."""
    reply, events = (RECORDED / f"{name}{kind}" for kind in (".json", ".sse"))
    return Recording(reply.read_bytes().strip(), events.read_bytes(), means, usage)


class TestOpenAI(LMProviderContract):
    model = "acme-1"
    base_path = "/v1"
    cannot = ("grammar",)

    def spec(self) -> Spec:
        return dspex_openai.dspex_lm_providers()[0]

    def recordings(self) -> dict[str, Recording]:
        text = Choice("Write the word café and a smile 😀.<|im_", (), "length")
        return {
            "text": recorded("text", text, dspex.Usage(32, 12)),
            "call": recorded("call", Choice("Let me look.", (LOOK_UP,), "tool_calls"), dspex.Usage(31, 17)),
            "thought": recorded("thought", Choice("Four.", reasoning="Two and two."), dspex.Usage(9, 8)),
        }


class TestResponses(LMProviderContract):
    model = "acme-1"
    base_path = "/v1"
    options = MappingProxyType({"model_type": "responses"})
    cannot = ("frequency_penalty", "grammar", "logit_bias", "presence_penalty", "seed", "stop")

    def spec(self) -> Spec:
        return dspex_openai.dspex_lm_providers()[0]

    def recordings(self) -> dict[str, Recording]:
        text = Choice("Write the word café and a smile 😀.<|im_", (), "length")
        call = Choice("Let me look.", (LOOK_UP,), "tool_calls")
        return {
            "text": recorded("responses/text", text, dspex.Usage(32, 12)),
            "call": recorded("responses/call", call, dspex.Usage(31, 17)),
            "thought": recorded("responses/thought", Choice("Four.", reasoning="Two and two."), dspex.Usage(9, 8)),
        }


class TestTexts(LMProviderContract):
    model = "acme-1"
    base_path = "/v1"
    options = MappingProxyType({"model_type": "text"})
    cannot = ("audio", "files", "grammar", "images", "json_schema", "reasoning", "tools")

    def spec(self) -> Spec:
        return dspex_openai.dspex_lm_providers()[0]

    def recordings(self) -> dict[str, Recording]:
        text = Choice(" the capital of the country", (), "length")
        return {"text": recorded("texts/text", text, dspex.Usage(6, 5, 5))}


class TestEmbedder(EmbeddingProviderContract):
    model = "e-1"
    base_path = "/v1"

    def spec(self) -> Spec:
        return dspex_openai.dspex_embedders()[0]

    def reply(self, asked: Any) -> Any:
        texts = asked["input"]
        rows = [{"embedding": self.row(text), "index": place} for place, text in enumerate(texts)]
        return {"data": rows, "usage": {"prompt_tokens": self.tokens(texts)}}


class TestPackedEmbedder(TestEmbedder):
    options = MappingProxyType({"encoding": "base64"})

    def reply(self, asked: Any) -> Any:
        made = super().reply(asked)
        for row in made["data"]:
            row["embedding"] = base64.b64encode(array("f", row["embedding"]).tobytes()).decode()
        return made
