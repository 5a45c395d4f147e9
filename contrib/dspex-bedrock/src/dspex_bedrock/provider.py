"""The provider: one model at Bedrock, whole and streamed; transport and its faults are the kernel's."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from dspex.plugin import (
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
from dspex_bedrock.frames import FRAMINGS
from dspex_bedrock.models import capabilities_of
from dspex_bedrock.options import BedrockOptions, read_options
from dspex_bedrock.refusals import refined_error
from dspex_bedrock.replies import StreamedReply, WireReply, to_response
from dspex_bedrock.signing import Place
from dspex_bedrock.wire import to_body

BROKEN = (LMTimeout, ProtocolError, Unavailable)


class BedrockProvider:
    """The Converse API at `api_base`, else at AWS_ENDPOINT_URL_BEDROCK_RUNTIME, else in a region of AWS."""

    def __init__(self, endpoint: Endpoint, http: HttpClient) -> None:
        self.options = read_options(endpoint.options, BedrockOptions)
        place = Place(endpoint, self.options)
        self.endpoint = msgspec.structs.replace(endpoint, api_key=place.key)  # so that no error shows it
        self.base_url = place.base_url
        self.capabilities = capabilities_of(endpoint.model)
        self._signer = place.signer
        self._http = http
        self._whole = place.url(endpoint.model, "converse")
        self._streamed = place.url(endpoint.model, "converse-stream")
        self._decoder = msgspec.json.Decoder(WireReply)

    async def complete(self, request: LMRequest) -> LMResponse:
        """The whole reply. Raises LMError classes."""
        body = msgspec.json.encode(to_body(request, self.options))
        headers = await self._signer.headers(self._whole, body)
        reply = await self._http.request("POST", self._whole, body=body, headers=headers)
        return to_response(decode_json(reply.body, self._decoder), self.endpoint)

    async def stream(self, request: LMRequest) -> AsyncIterator[LMDelta]:
        """The reply in pieces; the last has tool calls, finish reason and usage. Raises LMError classes.

        An error after the first piece is not to be tried again and has the text so far in `.partial`.
        """
        body = msgspec.json.encode(to_body(request, self.options))
        headers = await self._signer.headers(self._streamed, body)
        streamed = StreamedReply(self.endpoint)
        events: Any = self._http.events("POST", self._streamed, body=body, headers=headers, framings=FRAMINGS)
        try:
            async with aclosing(events) as running:
                async for event in running:
                    if event.event == "body":
                        yield self._only_piece(event.data)
                        return
                    delta = streamed.add(event)
                    if delta is not None:
                        yield delta
                    if streamed.is_over:
                        break
            if streamed.stop_reason is None:
                raise ProtocolError("The stream ended before its last piece.")
        except LMError as error:
            if streamed.stop_reason is None or not isinstance(error, BROKEN):
                if streamed.has_begun:
                    error.partial, error.retryable = streamed.text, False
                raise
        yield streamed.last()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LMError | None:
        """What AWS tells otherwise than most."""
        return refined_error(self.endpoint, self.base_url, status, headers, body)

    def _only_piece(self, body: str) -> LMDelta:
        """A reply that came whole, from a server that does not stream."""
        reply = to_response(decode_json(body, self._decoder), self.endpoint)
        choice = reply.choices[0]
        return LMDelta(choice.text, choice.tool_calls, choice.finish_reason or "stop", reply.usage, choice.reasoning)
