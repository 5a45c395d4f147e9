"""The provider: one chat completions endpoint, whole and streamed; transport and its faults are the kernel's."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from dspex.plugin import (
    AuthError,
    Capabilities,
    Endpoint,
    Headers,
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
from dspex_openai.batches import BatchWire
from dspex_openai.models import known_capabilities
from dspex_openai.options import read_options
from dspex_openai.replies import StreamedReply, WireReply, error_of, to_response
from dspex_openai.wire import to_body, to_stream_body
from dspex_openai.xai_batches import make_batches

OPENAI = "https://api.openai.com/v1"
BROKEN = (LMTimeout, ProtocolError, Unavailable)


class OpenAIProvider:
    """Chat completions at `api_base`, else at OPENAI_BASE_URL, else at OpenAI.

    `batches` names whose batch API the service has, of BATCH_FORMS or "xai"; with None it has no methods of batches. `shape`
    changes a body to what else the service wants.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        http: HttpClient,
        batches: str | None = "openai",
        shape: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._shape = shape
        self.options = read_options(endpoint.options)
        self.base_url = (endpoint.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI).rstrip("/")
        self.capabilities = self._capabilities()
        self._http = http
        self._url = f"{self.base_url}/chat/completions"
        self._headers = self._own_headers()
        self._lacks_key = self._is_without_key()
        self._decoder = msgspec.json.Decoder(WireReply)
        if batches is not None and self.options.server == "openai":
            wire = BatchWire(endpoint, http, self.base_url, self._headers, self._body)
            made = make_batches(batches, wire)
            self.batch_start, self.batch_status = made.start, made.status
            self.batch_results, self.batch_cancel = made.results, made.cancel

    async def complete(self, request: LMRequest) -> LMResponse:
        """The whole reply. Raises LMError classes."""
        self._check_key()
        body = self._body(request)
        reply = await self._http.request("POST", self._url, json=body, headers=self._headers)
        return to_response(decode_json(reply.body, self._decoder), request.n, self.endpoint)

    async def stream(self, request: LMRequest) -> AsyncIterator[LMDelta]:
        """One completion in pieces; the last has tool calls, finish reason and usage. Raises LMError classes.

        An error after the first piece is not to be tried again and has the text so far in `.partial`.
        """
        self._check_key()
        body = to_stream_body(self._body(request), self.options)
        streamed, ended = StreamedReply(self.endpoint), False
        events = self._http.events("POST", self._url, json=body, headers=self._headers)
        try:
            async with aclosing(events) as running:
                async for event in running:
                    if event.data == "[DONE]":
                        ended = True
                        break
                    if event.event == "body":
                        yield self._only_piece(event.data)
                        return
                    chunk = decode_json(event.data, self._decoder)
                    if chunk.error is not None:
                        raise error_of(chunk.error, self.endpoint)
                    delta = streamed.add(chunk.choices or (), chunk.usage)
                    if delta is not None:
                        yield delta
            if not ended and streamed.finish_reason is None:
                raise ProtocolError("The stream ended before its last piece.")
        except LMError as error:
            if streamed.finish_reason is None or not isinstance(error, BROKEN):
                _mark_interrupted(error, streamed)
                raise
        yield streamed.last()

    def _body(self, request: LMRequest) -> dict[str, Any]:
        body = to_body(request, self.options)
        if self._shape is not None:
            self._shape(body)
        return body

    def _only_piece(self, body: str) -> LMDelta:
        """A reply that came whole, from a server that does not stream."""
        reply = to_response(decode_json(body, self._decoder), 1, self.endpoint)
        choice = reply.choices[0]
        return LMDelta(choice.text, choice.tool_calls, choice.finish_reason or "stop", reply.usage, choice.reasoning)

    def _is_without_key(self) -> bool:
        named = {name.lower() for name in self.endpoint.headers}
        return self.base_url == OPENAI and self.endpoint.api_key is None and "authorization" not in named

    def _check_key(self) -> None:
        if self._lacks_key:
            raise AuthError(
                f"No key for {OPENAI}: set OPENAI_API_KEY or pass api_key=. For another server pass api_base=.",
                model=f"openai/{self.endpoint.model}",
            )

    def _own_headers(self) -> Headers:
        key, options = self.endpoint.api_key, self.options
        headers = {} if key is None else {"authorization": f"Bearer {key.reveal()}"}
        if options.organization:
            headers["openai-organization"] = options.organization
        if options.project:
            headers["openai-project"] = options.project
        return Headers(headers)

    def _capabilities(self) -> Capabilities | None:
        if self.options.server != "openai":
            # llama.cpp refuses an n above its number of slots, which is not known here.
            several = True if self.options.server == "vllm" else None
            return Capabilities(stream=True, n=several, json_schema=True, logprobs=True, grammar=True)
        return known_capabilities(self.endpoint.model) if self.base_url == OPENAI else None


def _mark_interrupted(error: LMError, streamed: StreamedReply) -> None:
    if streamed.has_begun:
        error.partial = streamed.text
        error.retryable = False
