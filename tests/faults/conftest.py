"""A server that fails, and models behind it by a small provider, as the author of a plugin would write it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp  # noqa: F401  # the first call would load it, and some tests measure its time
import msgspec
import pytest

import dspex
from dspex.plugin import (
    Choice,
    Endpoint,
    HttpClient,
    LMDelta,
    LMRequest,
    LMResponse,
    ProtocolError,
    Spec,
    Usage,
    decode_json,
    status_error,
)
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source
from dspex.testing import FaultServer, LMProviderContract, Recording


class Reply(msgspec.Struct):
    text: str | None = None
    error: Any = None


class Provider:
    """One path, one field of text, and a stream of the like that ends with [DONE]."""

    def __init__(self, endpoint: Endpoint, http: HttpClient) -> None:
        self.endpoint, self.http = endpoint, http

    def text(self, body: bytes | str) -> str:
        reply = decode_json(body, Reply)
        if reply.error is not None:
            raise status_error(self.endpoint, 200, {}, msgspec.json.encode({"error": reply.error}))
        if reply.text is None:
            raise ProtocolError("The reply has no text.", code="retry_once")
        return reply.text

    async def complete(self, request: LMRequest) -> LMResponse:
        reply = await self.http.request("POST", "/ask", json={"q": request.messages[-1].text}, headers=self.headers())
        return LMResponse.from_text(self.text(reply.body))

    def headers(self) -> dict[str, str]:
        key = self.endpoint.api_key
        return {"authorization": f"Bearer {key.reveal()}"} if key else {}

    async def stream(self, request: LMRequest) -> AsyncIterator[LMDelta]:
        async with aclosing(
            self.http.events("POST", "/ask", json={"q": request.messages[-1].text}, headers=self.headers())
        ) as events:
            async for event in events:
                if event.data == "[DONE]":
                    yield LMDelta(finish_reason="stop")
                    return
                yield LMDelta(self.text(event.data))


class Plugin:
    dspex_lm_providers = staticmethod(dspex.hookimpl(lambda: [dspex.Spec("acme", Provider)]))


class Kit(LMProviderContract):
    """The kit of plugins, for the small provider."""

    model = "one"

    def spec(self) -> Spec:
        return Spec("acme", Provider)

    def recordings(self) -> dict[str, Recording]:
        events = b'data: {"text": "Hel"}\n\ndata: {"text": "lo"}\n\ndata: [DONE]\n\n'
        return {"text": Recording(b'{"text": "Hello"}', events, Choice("Hello"), Usage())}


@pytest.fixture
def kit() -> Kit:
    return Kit()


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def app() -> Callable[..., Any]:
    """Enters an App whose only plugin is the small provider; its children end with it."""

    @asynccontextmanager
    async def app(**settings: Any) -> AsyncIterator[dspex.App]:
        async with dspex.App(plugins=PluginManager(lambda: [Source("acme", Plugin)], environ={}), **settings) as app:
            yield app
            await asyncio.sleep(0)

    return app


@pytest.fixture
def lm(server: FaultServer) -> Callable[..., dspex.LM]:
    """Makes a model behind the server; without a second attempt and without a cache unless told."""

    def lm(name: str = "one", **more: Any) -> dspex.LM:
        return dspex.LM(f"acme/{name}", **{"api_base": server.url, "cache": False, "num_retries": 0, **more})

    return lm
