"""The provider: one endpoint of the messages API, whole and streamed; transport and its faults are the kernel's."""

import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from dspex.plugin import (
    AuthError,
    ContextWindowExceeded,
    Endpoint,
    Headers,
    HttpClient,
    LMDelta,
    LMError,
    LMRequest,
    LMResponse,
    LMTimeout,
    ProtocolError,
    RateLimited,
    Unavailable,
    decode_json,
)
from dspex_anthropic.batches import MessageBatches
from dspex_anthropic.models import capabilities_of, traits_of
from dspex_anthropic.options import read_options
from dspex_anthropic.replies import StreamedReply, WireEvent, WireReply, error_of, maker_of, to_response
from dspex_anthropic.wire import thinks, to_body

ANTHROPIC = "https://api.anthropic.com"
VERSION = "2023-06-01"
BROKEN = (LMTimeout, ProtocolError, Unavailable)
_NO_CREDIT = rb"credit balance is too low"
_NO_ROOM = rb"exceed context limit"


class AnthropicProvider:
    """The messages API at `api_base`, else at ANTHROPIC_BASE_URL, else at Anthropic."""

    def __init__(self, endpoint: Endpoint, http: HttpClient) -> None:
        self.endpoint = endpoint
        self.options = read_options(endpoint.options)
        self._maker = maker_of(endpoint)
        base = endpoint.base_url or os.environ.get("ANTHROPIC_BASE_URL") or ANTHROPIC
        self.base_url = base.rstrip("/").removesuffix("/v1")
        self._traits = traits_of(endpoint.model)
        asked = thinks({"thinking": self.options.thinking}, self._traits) if self.options.thinking else False
        self.capabilities = capabilities_of(self._traits, thinks=asked)
        self._http = http
        self._url = f"{self.base_url}/v1/messages"
        self._headers = self._own_headers()
        self._decoder = msgspec.json.Decoder(WireReply)
        self._events = msgspec.json.Decoder(WireEvent)
        batches = MessageBatches(endpoint, http, self._url, self._headers, self._body)
        self.batch_start, self.batch_status = batches.start, batches.status
        self.batch_results, self.batch_cancel = batches.results, batches.cancel

    async def complete(self, request: LMRequest) -> LMResponse:
        """The whole reply. Raises LMError classes."""
        self._check_key()
        body = self._body(request)
        reply = await self._http.request("POST", self._url, json=body, headers=self._headers)
        return to_response(decode_json(reply.body, self._decoder), self.endpoint)

    async def stream(self, request: LMRequest) -> AsyncIterator[LMDelta]:
        """The reply in pieces; the last has tool calls, finish reason and usage. Raises LMError classes.

        An error after the first piece is not to be tried again and has the text so far in `.partial`.
        """
        self._check_key()
        body = self._body(request) | {"stream": True}
        streamed = StreamedReply(self.endpoint)
        events = self._http.events("POST", self._url, json=body, headers=self._headers)
        try:
            async with aclosing(events) as running:
                async for event in running:
                    if event.event == "body":
                        yield self._only_piece(event.data)
                        return
                    piece = decode_json(event.data, self._events)
                    if piece.error is not None:
                        raise error_of(piece.error, self.endpoint)
                    delta = streamed.add(piece)
                    if delta is not None:
                        yield delta
                    if streamed.is_over:
                        break
            if streamed.stop_reason is None:
                raise ProtocolError("The stream ended before its last piece.")
        except LMError as error:
            if streamed.stop_reason is None or not isinstance(error, BROKEN):
                _mark_interrupted(error, streamed)
                raise
        yield streamed.last()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LMError | None:
        """Refusals that Anthropic tells by words only; all others are told by status and type."""
        if status == 400 and re.search(_NO_CREDIT, body):
            advice = "Waiting will not help: see plans and billing of the account."
            return RateLimited(f"The credit at Anthropic is used up (400). {advice}", retryable=False)
        if status == 400 and re.search(_NO_ROOM, body):
            return ContextWindowExceeded("Prompt and max_tokens together pass what the model reads: lower max_tokens.")
        return None

    def _body(self, request: LMRequest) -> dict[str, Any]:
        return to_body(request, self.options, self._traits, self._maker)

    def _only_piece(self, body: str) -> LMDelta:
        """A reply that came whole, from a server that does not stream."""
        return LMDelta.last_of(to_response(decode_json(body, self._decoder), self.endpoint))

    def _check_key(self) -> None:
        named = {name.lower() for name in self.endpoint.headers}
        if self.base_url == ANTHROPIC and self.endpoint.api_key is None and not named & {"authorization", "x-api-key"}:
            raise AuthError(
                f"No key for {ANTHROPIC}: set ANTHROPIC_API_KEY or pass api_key=. For another server pass api_base=.",
                model=f"anthropic/{self.endpoint.model}",
            )

    def _own_headers(self) -> Headers:
        headers = {"anthropic-version": VERSION}
        if self.endpoint.api_key is not None:
            headers["x-api-key"] = self.endpoint.api_key.reveal()
        if self.options.beta:
            headers["anthropic-beta"] = self.options.beta
        return Headers(headers)


def _mark_interrupted(error: LMError, streamed: StreamedReply) -> None:
    if streamed.has_begun:
        error.partial = streamed.text
        error.retryable = False
