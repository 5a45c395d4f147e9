"""The provider: one model of the Gemini API, whole and streamed; transport and its faults are the kernel's."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

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
from dspex_gemini.models import capabilities_of, traits_of
from dspex_gemini.options import GeminiOptions, read_options
from dspex_gemini.place import GEMINI, base_url, lacks_key, model_path, no_key, own_headers, refined_error
from dspex_gemini.replies import StreamedReply, WireReply, check, maker_of, to_response
from dspex_gemini.wire import to_body

BROKEN = (LMTimeout, ProtocolError, Unavailable)


class GeminiProvider:
    """generateContent at `api_base`, else at GEMINI_BASE_URL, else at Google."""

    def __init__(self, endpoint: Endpoint, http: HttpClient) -> None:
        self.endpoint = endpoint
        self.options = read_options(endpoint.options, GeminiOptions)
        self.base_url = base_url(endpoint)
        self._traits = traits_of(endpoint.model)
        self._maker = maker_of(endpoint)
        # A server of another's may not give several candidates, nor do models since 3 always.
        several = True if self.base_url == GEMINI and self._traits.thinking in ("never", "budget") else None
        self.capabilities = capabilities_of(self._traits, several=several)
        self._http = http
        url = f"{self.base_url}/{model_path(endpoint.model)}"
        self._whole, self._streamed = f"{url}:generateContent", f"{url}:streamGenerateContent?alt=sse"
        self._headers = own_headers(endpoint)
        self._lacks_key = lacks_key(endpoint, self.base_url)
        self._decoder = msgspec.json.Decoder(WireReply)

    async def complete(self, request: LMRequest) -> LMResponse:
        """The whole reply. Raises LMError classes."""
        if self._lacks_key:
            raise no_key(self.endpoint)
        body = to_body(request, self.options, self._traits, self._maker)
        reply = await self._http.request("POST", self._whole, json=body, headers=self._headers)
        return to_response(decode_json(reply.body, self._decoder), request.n, self.endpoint)

    async def stream(self, request: LMRequest) -> AsyncIterator[LMDelta]:
        """The reply in pieces; the last has tool calls, finish reason and usage. Raises LMError classes.

        An error after the first piece is not to be tried again and has the text so far in `.partial`.
        """
        if self._lacks_key:
            raise no_key(self.endpoint)
        body = to_body(request, self.options, self._traits, self._maker)
        streamed = StreamedReply(self.endpoint)
        events = self._http.events("POST", self._streamed, json=body, headers=self._headers)
        try:
            async with aclosing(events) as running:
                async for event in running:
                    if event.event == "body":
                        yield self._only_piece(event.data)
                        return
                    piece = decode_json(event.data, self._decoder)
                    check(piece, self.endpoint)
                    delta = streamed.add(piece)
                    if delta is not None:
                        yield delta
                    if streamed.is_over:
                        break
            if streamed.finish_reason is None:
                raise ProtocolError("The stream ended before its last piece.")
        except LMError as error:
            if streamed.finish_reason is None or not isinstance(error, BROKEN):
                _mark_interrupted(error, streamed)
                raise
        yield streamed.last()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LMError | None:
        """What Google tells in the details of a refusal."""
        return refined_error(self.endpoint, self.base_url, status, headers, body)

    def _only_piece(self, body: str) -> LMDelta:
        """A reply that came whole, from a server that does not stream."""
        return LMDelta.last_of(to_response(decode_json(body, self._decoder), 1, self.endpoint))


def _mark_interrupted(error: LMError, streamed: StreamedReply) -> None:
    if streamed.has_begun:
        error.partial = streamed.text
        error.retryable = False
