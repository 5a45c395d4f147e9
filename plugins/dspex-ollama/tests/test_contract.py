"""The kit for providers, over replies recorded from aimock, a mock of Ollama's wire; it counts no tokens, so the counts are ours."""

from pathlib import Path
from types import MappingProxyType
from typing import Any

import dspex
import dspex_ollama
from dspex.plugin import Choice, Spec, ToolCall
from dspex.testing import EmbeddingProviderContract, LMProviderContract, Recording, StreamForm

RECORDED = Path(__file__).parent / "recorded"
LOOK_UP = ToolCall("call_0", "look_up", '{"city": "Oslo", "days": 2}')
LINES = StreamForm(
    content_type="application/x-ndjson",
    events=lambda stream: stream.splitlines(keepends=True),
    nonsense=b"{nope\n",
    silence=b"\n",
    part=b" " * 65536,
)


def recorded(name: str, means: Choice, usage: dspex.Usage) -> Recording:
    reply, events = (RECORDED / f"{name}{kind}" for kind in (".json", ".ndjson"))
    return Recording(reply.read_bytes().strip(), events.read_bytes(), means, usage)


class TestOllama(LMProviderContract):
    model = "acme-1"
    options = MappingProxyType({"learn": False})  # the server is scripted for what is asked of the model
    cannot = ("audio", "files", "grammar", "logit_bias")
    stream_form = LINES

    def spec(self) -> Spec:
        return dspex_ollama.dspex_lm_providers()[0]

    def recordings(self) -> dict[str, Recording]:
        text = Choice("Write the word café and a smile 😀.<|im_", (), "length")
        return {
            "text": recorded("text", text, dspex.Usage(32, 12)),
            "call": recorded("call", Choice("Let me look.", (LOOK_UP,), "tool_calls"), dspex.Usage(31, 17)),
            "thought": recorded("thought", Choice("Four.", reasoning="Two and two."), dspex.Usage(9, 8)),
        }


class TestEmbedder(EmbeddingProviderContract):
    model = "e-1"

    def spec(self) -> Spec:
        return dspex_ollama.dspex_embedders()[0]

    def reply(self, asked: Any) -> Any:
        texts = asked["input"]
        return {"embeddings": [*map(self.row, texts)], "prompt_eval_count": self.tokens(texts)}
