"""The kit for providers, over replies recorded from aimock, a mock of Google's wire."""

from pathlib import Path

import dspex
import dspex_gemini
from dspex.plugin import Choice, Spec, ToolCall
from dspex.testing import LMProviderContract, Recording

RECORDED = Path(__file__).parent / "recorded"
LOOK_UP = ToolCall("call_0", "look_up", '{"city": "Oslo", "days": 2}')


def recorded(name: str, means: Choice, usage: dspex.Usage) -> Recording:
    reply, events = (RECORDED / f"{name}{kind}" for kind in (".json", ".sse"))
    return Recording(reply.read_bytes().strip(), events.read_bytes(), means, usage)


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
        }
