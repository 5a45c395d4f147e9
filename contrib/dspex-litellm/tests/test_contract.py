"""The kit for providers, whole: over a server that LiteLLM takes for OpenAI, as its client takes no other way to one."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest

import dspex
import dspex_litellm
from dspex.plugin import Choice, LMDelta, LMError, LMRequest, LMResponse, ProtocolError, Spec, ToolCall
from dspex.testing import EmbeddingProviderContract, FaultServer, LMProviderContract, Recording
from dspex.testing.faults import LAST, SSE, chunked

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # LiteLLM's own

RECORDED = Path(__file__).parent / "recorded"
# Faults that end otherwise now and then.
BEARS = {
    "bad chunk size": "LiteLLM's client says nothing of it once in some hundred times, so that the call ends by its time"
}
LOOK_UP = ToolCall("call_1", "look_up", '{"city": "Oslo", "days": 2}')


def recorded(name: str, means: Choice, usage: dspex.Usage) -> Recording:
    """Replies of llama.cpp's server and of aimock, as they were recorded for dspex-openai."""
    reply, events = (RECORDED / f"{name}{kind}" for kind in (".json", ".sse"))
    # Of a model that LiteLLM has no price of: what a call costs is no part of the recording.
    whole, pieces = (one.read_bytes().replace(b"gpt-4o", b"acme-1") for one in (reply, events))
    return Recording(whole.strip(), pieces, means, usage)


class Played:
    """The provider over recorded bytes, which a server sends as LiteLLM asks for them; `sent` is what was asked."""

    def __init__(self, provider: Any, server: FaultServer, reply: bytes, events: bytes, breaks: LMError | None) -> None:
        self.provider, self.server = provider, server
        self.reply, self.events, self.breaks = reply, events, breaks
        self.before = len(server.requests)

    @property
    def sent(self) -> list[str]:
        return [request.body.decode() for request in self.server.requests[self.before :]]

    async def complete(self, request: LMRequest) -> LMResponse:
        self.server.then(200, self.reply, headers={"Content-Type": "application/json"}, times=None)
        return await self.provider.complete(request)

    async def stream(self, request: LMRequest) -> AsyncIterator[LMDelta]:
        ends = {None: "keep", ProtocolError: "close"}.get(type(self.breaks) if self.breaks else None, "reset")
        last = (LAST,) if self.breaks is None else ()
        body = (chunked(self.events),) if self.events else ()
        self.server.then_raw(SSE.head, *body, *last, end=ends, times=None)
        async with aclosing(self.provider.stream(request)) as pieces:
            async for piece in pieces:
                yield piece


class TestLiteLLM(LMProviderContract):
    model = "openai/acme-1"
    base_path = "/v1"
    cannot = ("grammar",)
    bears = BEARS
    stride = 29  # each call is one of LiteLLM's, of milliseconds

    def spec(self) -> Spec:
        return dspex_litellm.dspex_lm_providers()[0]

    def recordings(self) -> Mapping[str, Recording]:
        text = Choice("Write the word café and a smile 😀.<|im_", (), "length")
        return {
            "text": recorded("text", text, dspex.Usage(32, 12)),
            "call": recorded("call", Choice("Let me look.", (LOOK_UP,), "tool_calls"), dspex.Usage(31, 17)),
            "thought": recorded("thought", Choice("Four.", reasoning="Two and two."), dspex.Usage(9, 8)),
        }

    @pytest.fixture(autouse=True)
    def a_server(self) -> Iterator[None]:
        """What plays the recordings, and one provider for all that a test asks."""
        with FaultServer() as self.server:
            self.one = self.provider(None, f"{self.server.url}{self.base_path}")
            yield
            asyncio.run(self.one.aclose())

    def wire(self, reply: bytes, events: bytes = b"", breaks: LMError | None = None) -> Any:
        return Played(self.one, self.server, reply, events, breaks)

    def played(self, http: Any) -> Any:
        return http

    async def streamed(self, http: Any, request: LMRequest) -> LMResponse:
        """In a stream LiteLLM counts the tokens of thoughts itself, where the service does not."""
        reply = await super().streamed(http, request)
        assert reply.usage is not None
        return msgspec.structs.replace(reply, usage=msgspec.structs.replace(reply.usage, reasoning_tokens=0))

    def test_a_whole_reply_in_place_of_a_stream_is_the_answer(self) -> None:
        """LiteLLM gives nothing of a body that is no stream: that is told, and not taken for an answer of nothing."""

        async def work(lm: dspex.LM) -> None:
            with pytest.raises(ProtocolError, match="neither text nor a tool call"):
                await self.pieces(lm)

        self.live(work)


class TestEmbedder(EmbeddingProviderContract):
    model = "openai/e-1"
    base_path = "/v1"
    bears = BEARS
    timeout_s = 2.0

    def spec(self) -> Spec:
        return dspex_litellm.dspex_embedders()[0]

    def reply(self, asked: Any) -> Any:
        texts = asked["input"]
        rows = [
            {"object": "embedding", "embedding": self.row(text), "index": place} for place, text in enumerate(texts)
        ]
        return {
            "object": "list",
            "model": "e-1",
            "data": rows,
            "usage": {"prompt_tokens": self.tokens(texts), "total_tokens": 1},
        }
