"""The provider: one model that LiteLLM calls, whole and streamed."""

import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec

from dspex.plugin import Capabilities, Endpoint, HttpClient, LMDelta, LMError, LMRequest, LMResponse, ProtocolError
from dspex_litellm.desk import Desk
from dspex_litellm.failures import translated
from dspex_litellm.options import LiteLLMOptions, read_options, said
from dspex_litellm.replies import StreamedReply, to_response
from dspex_litellm.wire import to_keywords


class LiteLLMProvider:
    """Whatever model LiteLLM reaches, by its own HTTP client; the kernel's is not used."""

    def __init__(self, endpoint: Endpoint, http: HttpClient) -> None:
        self.endpoint = endpoint
        self.base_url = endpoint.base_url
        self.options = read_options(endpoint.options, LiteLLMOptions)
        self.capabilities = Capabilities(chat=True, stream=True, grammar=False, batch=False)
        self._desk: Desk | None = None

    async def start(self) -> None:
        """Import LiteLLM, in its own thread, and look up what it knows of the model."""
        self.capabilities = await self._at_desk().call(self._looked_up)

    async def complete(self, request: LMRequest) -> LMResponse:
        """The whole reply. Raises LMError classes."""
        keywords = to_keywords(request, self.endpoint, said(self.options))
        try:
            desk = self._at_desk()
            reply = await desk.call(lambda litellm: litellm.acompletion(**keywords, shared_session=desk.session()))
            return to_response(reply, request.n, self.endpoint)
        except LMError:
            raise
        except Exception as error:  # noqa: BLE001  LiteLLM's own, of many classes
            failure = translated(error, self.endpoint)
        raise failure  # outside the block: LiteLLM's error, which holds the request's headers, is no context of ours

    async def stream(self, request: LMRequest) -> AsyncIterator[LMDelta]:
        """The reply in pieces; the last has tool calls, finish reason and usage. Raises LMError classes.

        An error after the first piece is not to be tried again and has the text so far in `.partial`.
        """
        keywords = to_keywords(request, self.endpoint, said(self.options))
        keywords |= {"stream": True, "stream_options": {"include_usage": True}}
        keywords.pop("n", None)
        streamed = StreamedReply()
        desk = self._at_desk()
        pieces: Any = desk.items(lambda litellm: litellm.acompletion(**keywords, shared_session=desk.session()))
        failure: Exception | None = None
        try:
            async with aclosing(pieces) as running:
                async for piece in running:
                    delta = streamed.add(piece)
                    if delta is not None:
                        yield delta
        except Exception as error:  # noqa: BLE001  as in complete()
            failure = error if isinstance(error, LMError) else translated(error, self.endpoint)
        if failure is None and streamed.finish_reason is None:
            failure = ProtocolError("The stream ended before its last piece.")
        if failure is not None:
            if isinstance(failure, LMError) and streamed.has_begun:
                failure.partial, failure.retryable = streamed.text, False
            raise failure
        yield streamed.last()

    async def aclose(self) -> None:
        """End LiteLLM's thread."""
        desk, self._desk = self._desk, None
        if desk is not None:
            await desk.aclose()

    def _at_desk(self) -> Desk:
        """The desk of this process: a forked child has none of its parent's threads."""
        if self._desk is None or self._desk.pid != os.getpid():
            self._desk = Desk()
        return self._desk

    async def _looked_up(self, litellm: Any) -> Capabilities:
        """What LiteLLM's table says; of a model that is not in it nothing is known."""
        try:
            known = litellm.get_model_info(self.endpoint.model)
        except Exception:  # noqa: BLE001  it raises what it likes for a model that it does not know
            return self.capabilities
        return msgspec.structs.replace(
            self.capabilities,
            json_schema=known.get("supports_response_schema"),
            tools=known.get("supports_function_calling"),
            images=known.get("supports_vision"),
            reasoning=known.get("supports_reasoning"),
            max_output_tokens=known.get("max_output_tokens"),
        )
