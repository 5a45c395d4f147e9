"""The kit for providers, over replies recorded from llama.cpp's server (text) and from aimock, a mock of Anthropic's wire."""

import json
from pathlib import Path

import dspex
import dspex_anthropic
from dspex.plugin import Choice, Spec, ToolCall
from dspex.testing import ASKS, LMProviderContract, Recording
from dspex_anthropic.schemas import REPLY_TOOL

RECORDED = Path(__file__).parent / "recorded"
LOOK_UP = ToolCall("toolu_1", "look_up", '{"city": "Oslo", "days": 2}')
FORM = '{"capital_city":"Oslo"}'


def recorded(name: str, means: Choice, usage: dspex.Usage) -> Recording:
    reply, events = (RECORDED / f"{name}{kind}" for kind in (".json", ".sse"))
    return Recording(reply.read_bytes().strip(), events.read_bytes(), means, usage)


def by_tool() -> Recording:
    """The call of the mock, as if it were that of the tool which a JSON schema becomes."""
    call = recorded("call", Choice(""), dspex.Usage())
    events = call.events.decode().replace("look_up", REPLY_TOOL)
    begins, ends = json.dumps('{"city":"Oslo","days')[1:-1], json.dumps('":2}')[1:-1]
    events = events.replace(begins, json.dumps(FORM[:9])[1:-1]).replace(ends, json.dumps(FORM[9:])[1:-1])
    reply = call.reply.decode().replace("look_up", REPLY_TOOL).replace('{"city":"Oslo","days":2}', FORM)
    means = Choice(f"Let me look.{FORM}", (), "stop")
    return Recording(reply.encode(), events.encode(), means, dspex.Usage(31, 17), ASKS["json_schema"])


class TestAnthropic(LMProviderContract):
    model = "acme-1"
    cannot = (
        *("audio", "frequency_penalty", "grammar", "logit_bias", "logprobs", "presence_penalty", "reasoning", "seed"),
    )

    def spec(self) -> Spec:
        return dspex_anthropic.dspex_lm_providers()[0]

    def recordings(self) -> dict[str, Recording]:
        text = Choice("Write the word café and a smile 😀.<|im_", (), "length")
        return {
            "text": recorded("text", text, dspex.Usage(32, 12, 31)),
            "call": recorded("call", Choice("Let me look.", (LOOK_UP,), "tool_calls"), dspex.Usage(31, 17)),
            "thought": recorded("thought", Choice("Four.", reasoning="Two and two."), dspex.Usage(9, 8)),
            "reply by tool": by_tool(),
        }
