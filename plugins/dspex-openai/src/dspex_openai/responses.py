"""The provider of the Responses API, whole and streamed; transport and its faults are the kernel's."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec

from dspex.plugin import (
    Capabilities,
    Endpoint,
    HttpClient,
    LMDelta,
    LMError,
    LMRequest,
    LMResponse,
    LMTimeout,
    ProtocolError,
    Unavailable,
    decode_json,
)
from dspex_openai.models import known_capabilities
from dspex_openai.options import read_options
from dspex_openai.place import base_of, lacks_key, no_key, own_headers
from dspex_openai.provider import OPENAI
from dspex_openai.replies import maker_of
from dspex_openai.response_replies import StreamedResponse, WireEvent, WireResponse, to_response
from dspex_openai.response_wire import to_response_body

BROKEN = (LMTimeout, ProtocolError, Unavailable)
_OTHERWISE = Capabilities(chat=True, stream=True, n=False, grammar=False)


class ResponsesProvider:
    """The Responses API at `api_base`, else at OPENAI_BASE_URL, else at OpenAI."""

    def __init__(self, endpoint: Endpoint, http: HttpClient) -> None:
        self.endpoint = endpoint
        self._maker = maker_of(endpoint)
        self.base_url = base_of(endpoint)
        self.capabilities: Capabilities | None = self._capabilities()
        self._http = http
        self._url = f"{self.base_url}/responses"
        self._headers = own_headers(endpoint, read_options(endpoint.options))
        self._lacks_key = lacks_key(endpoint, self.base_url)
        self._decoder = msgspec.json.Decoder(WireResponse)
        self._events = msgspec.json.Decoder(WireEvent)

    async def complete(self, request: LMRequest) -> LMResponse:
        """The whole reply. Raises LMError classes."""
        self._check_key()
        body = to_response_body(request, self._maker)
        reply = await self._http.request("POST", self._url, json=body, headers=self._headers)
        return to_response(decode_json(reply.body, self._decoder), self.endpoint)

    async def stream(self, request: LMRequest) -> AsyncIterator[LMDelta]:
        """The reply in pieces; the last has tool calls, finish reason and usage. Raises LMError classes.

        An error after the first piece is not to be tried again and has the text so far in `.partial`.
        """
        self._check_key()
        body = to_response_body(request, self._maker) | {"stream": True}
        streamed = StreamedResponse(self.endpoint)
        events = self._http.events("POST", self._url, json=body, headers=self._headers)
        try:
            async with aclosing(events) as running:
                async for event in running:
                    if event.event == "body":
                        yield self._only_piece(event.data)
                        return
                    if event.data == "[DONE]":
                        break
                    delta = streamed.add(decode_json(event.data, self._events))
                    if delta is not None:
                        yield delta
                    if streamed.is_over:
                        break
            last = streamed.last()
        except LMError as error:
            if streamed.has_begun:
                error.partial = streamed.text
                error.retryable = False
            raise
        yield last

    def _only_piece(self, body: str) -> LMDelta:
        """A reply that came whole, from a server that does not stream."""
        return LMDelta.last_of(to_response(decode_json(body, self._decoder), self.endpoint))

    def _check_key(self) -> None:
        if self._lacks_key:
            raise no_key(self.endpoint)

    def _capabilities(self) -> Capabilities:
        known = known_capabilities(self.endpoint.model) if self.base_url == OPENAI else None
        return _OTHERWISE if known is None else msgspec.structs.replace(known, n=False)
