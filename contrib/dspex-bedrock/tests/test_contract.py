"""The kit for providers, over replies recorded from aimock, a mock of Bedrock's wire."""

import zlib
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dspex
import dspex_bedrock
from dspex.plugin import Choice, Spec, ToolCall
from dspex.testing import ASKS, EmbeddingProviderContract, LMProviderContract, Recording, StreamForm
from dspex_bedrock.wire import REPLY_TOOL

RECORDED = Path(__file__).parent / "recorded"
LOOK_UP = ToolCall("toolu_UYX65E_3dr1tpX5e", "look_up", '{"city": "Oslo", "days": 2}')


def apart(stream: bytes) -> list[bytes]:
    """The frames of a stream."""
    frames = []
    while stream:
        size = int.from_bytes(stream[:4], "big")
        frames.append(stream[:size])
        stream = stream[size:]
    return frames


def frame(payload: bytes, kind: bytes = b"contentBlockDelta", size: int | None = None) -> bytes:
    """A frame; `size` is what it says of itself, if not the truth."""
    head = b"\x0b:event-type\x07" + len(kind).to_bytes(2, "big") + kind
    total = 16 + len(head) + len(payload) if size is None else size
    prelude = total.to_bytes(4, "big") + len(head).to_bytes(4, "big")
    start = prelude + zlib.crc32(prelude).to_bytes(4, "big") + head + payload
    return start + zlib.crc32(start).to_bytes(4, "big")


FRAMES = StreamForm(
    content_type="application/vnd.amazon.eventstream",
    events=apart,
    nonsense=frame(b"{nope"),
    silence=frame(b"{}", b"initial-response"),
    part=frame(b" " * 65536, size=16_000_000),
    with_crlf=bytes,
)


def recorded(name: str, means: Choice, usage: dspex.Usage) -> Recording:
    reply, events = (RECORDED / f"{name}{kind}" for kind in (".json", ".frames"))
    return Recording(reply.read_bytes().strip(), events.read_bytes(), means, usage)


def by_tool() -> Recording:
    """The call of the mock, as if it were that of the tool which a JSON schema becomes."""
    call = recorded("call", Choice(""), dspex.Usage())
    made = [REPLY_TOOL.join(one.decode().split("look_up")).encode() for one in payloads(call.events)]
    events = b"".join(frame(payload, kind) for kind, payload in zip(kinds(call.events), made, strict=True))
    reply = call.reply.decode().replace("look_up", REPLY_TOOL)
    means = Choice('Let me look.{"city":"Oslo","days":2}', (), "stop")
    return Recording(reply.encode(), events, means, dspex.Usage(31, 17), ASKS["json_schema"])


def payloads(stream: bytes) -> list[bytes]:
    return [one[12 + int.from_bytes(one[4:8], "big") : -4] for one in apart(stream)]


def kinds(stream: bytes) -> list[bytes]:
    heads = [one[12 : 12 + int.from_bytes(one[4:8], "big")] for one in apart(stream)]
    values = [head.split(b":event-type\x07", 1)[1] for head in heads]
    return [value[2 : 2 + int.from_bytes(value[:2], "big")] for value in values]


class TestBedrock(LMProviderContract):
    model = "acme-1"
    options = MappingProxyType({"region": "us-east-1"})
    cannot = (*("frequency_penalty", "grammar", "logit_bias", "logprobs", "presence_penalty", "reasoning", "seed"),)
    stream_form = FRAMES

    def spec(self) -> Spec:
        return dspex_bedrock.dspex_lm_providers()[0]

    def recordings(self) -> dict[str, Recording]:
        text = Choice("Write the word café and a smile 😀.<|im_", (), "length")
        return {
            "text": recorded("text", text, dspex.Usage(32, 12)),
            "call": recorded("call", Choice("Let me look.", (LOOK_UP,), "tool_calls"), dspex.Usage(31, 17)),
            "thought": recorded("thought", Choice("Four.", reasoning="Two and two."), dspex.Usage(9, 8)),
            "reply by tool": by_tool(),
        }


class TestTitan(EmbeddingProviderContract):
    model = "amazon.titan-embed-text-v2:0"
    options = MappingProxyType({"region": "us-east-1"})
    batch = 16  # each text is a request of its own

    def spec(self) -> Spec:
        return dspex_bedrock.dspex_embedders()[0]

    def reply(self, asked: Any) -> Any:
        text = asked["inputText"]
        return {"embedding": self.row(text), "inputTextTokenCount": self.tokens([text])}


class TestCohere(EmbeddingProviderContract):
    model = "cohere.embed-english-v3"
    options = MappingProxyType({"region": "us-east-1"})
    tells_usage = False  # but by a header

    def spec(self) -> Spec:
        return dspex_bedrock.dspex_embedders()[0]

    def reply(self, asked: Any) -> Any:
        return {"embeddings": {"float": [*map(self.row, asked["texts"])]}}
