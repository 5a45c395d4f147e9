"""The provider: one model that Ollama serves, whole and streamed; transport and its faults are the kernel's."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from dspex.plugin import (
    BadRequest,
    Capabilities,
    Endpoint,
    HttpClient,
    LMDelta,
    LMError,
    LMRequest,
    LMResponse,
    ProtocolError,
    decode_json,
)
from dspex_ollama.lines import FRAMINGS
from dspex_ollama.options import OllamaOptions, read_options
from dspex_ollama.place import base_url, explain, installed, own_headers, refined_error
from dspex_ollama.replies import StreamedReply, WireReply, check, to_response
from dspex_ollama.wire import to_body

# What every model can do there, or none; the rest is the model's own.
_SERVED = Capabilities(chat=True, stream=True, n=False, json_schema=True, grammar=False, batch=False)


class WireShown(msgspec.Struct):
    """What the server tells of a model."""

    capabilities: list[str] | None = None


class OllamaProvider:
    """Ollama's chat at `api_base`, else at OLLAMA_HOST, else on this machine."""

    def __init__(self, endpoint: Endpoint, http: HttpClient) -> None:
        self.endpoint = endpoint
        self.options = read_options(endpoint.options, OllamaOptions)
        self.base_url = base_url(endpoint)
        self.capabilities = _SERVED
        self._http = http
        self._url = f"{self.base_url}/api/chat"
        self._headers = own_headers(endpoint)
        self._decoder = msgspec.json.Decoder(WireReply)

    async def start(self) -> None:
        """Ask the server what the model can do; where it does not say, that stays unknown."""
        if not self.options.learn:
            return
        try:
            body = {"model": self.endpoint.model}
            reply = await self._http.request("POST", f"{self.base_url}/api/show", json=body, headers=self._headers)
            known = decode_json(reply.body, WireShown).capabilities
        except LMError:  # an older server, or none: the call itself will tell
            return
        if known is not None:
            self.capabilities = _learned(known)

    async def models(self) -> list[str]:
        """Names of the models that are installed there. Raises LMError classes."""
        return await installed(self._http, self.base_url, self._headers)

    async def complete(self, request: LMRequest) -> LMResponse:
        """The whole reply. Raises LMError classes."""
        body = to_body(request, self.options, stream=False)
        try:
            reply = await self._http.request("POST", self._url, json=body, headers=self._headers)
        except BadRequest as error:
            await self._explain(error)
            raise
        return to_response(decode_json(reply.body, self._decoder), self.endpoint)

    async def stream(self, request: LMRequest) -> AsyncIterator[LMDelta]:
        """The reply in pieces; the last has tool calls, finish reason and usage. Raises LMError classes.

        An error after the first piece is not to be tried again and has the text so far in `.partial`.
        """
        body = to_body(request, self.options, stream=True)
        streamed = StreamedReply()
        try:
            async with aclosing(self._pieces(body)) as pieces:
                async for piece in pieces:
                    check(piece, self.endpoint)
                    delta = streamed.add(piece)
                    if delta is not None:
                        yield delta
                    if streamed.is_over:
                        break
            if not streamed.is_over:
                raise ProtocolError("The stream ended before its last piece.")
        except LMError as error:
            await self._interrupted(error, streamed)
            raise
        yield streamed.last()

    async def _pieces(self, body: dict[str, Any]) -> AsyncGenerator[WireReply, None]:
        """The lines of a stream; a reply that came whole, from a server that does not stream, is one."""
        events = self._http.events("POST", self._url, json=body, headers=self._headers, framings=FRAMINGS)
        async with aclosing(events) as running:
            async for event in running:
                piece = decode_json(event.data, self._decoder)
                if event.event == "body":
                    to_response(piece, self.endpoint)  # which says what is wrong with it
                yield piece

    async def _interrupted(self, error: LMError, streamed: StreamedReply) -> None:
        if isinstance(error, BadRequest):
            await self._explain(error)
        if streamed.has_begun:
            error.partial = streamed.text
            error.retryable = False

    async def _explain(self, error: BadRequest) -> None:
        await explain(error, self.endpoint, self._http, self.base_url, self._headers)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LMError | None:
        """What Ollama tells by words only."""
        return refined_error(self.endpoint, self.base_url, status, headers, body)


def _learned(known: list[str]) -> Capabilities:
    return msgspec.structs.replace(
        _SERVED, tools="tools" in known, images="vision" in known, reasoning="thinking" in known
    )
