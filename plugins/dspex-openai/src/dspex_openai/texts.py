"""The provider of OpenAI's completions of old, which continue a text: for base models, and servers that have nothing else."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from dspex.plugin import (
    BadRequest,
    Capabilities,
    Choice,
    Endpoint,
    HttpClient,
    LMDelta,
    LMError,
    LMRequest,
    LMResponse,
    LMTimeout,
    ProtocolError,
    Text,
    Unavailable,
    decode_json,
)
from dspex_openai.options import OpenAIOptions, read_options
from dspex_openai.place import base_of, lacks_key, no_key, own_headers
from dspex_openai.replies import MAX_STREAM_TEXT, WireUsage, error_of, filtered

BROKEN = (LMTimeout, ProtocolError, Unavailable)
_LACKING = ("parallel_tool_calls", "reasoning_effort", "response_format", "tool_choice", "top_logprobs")


class WireText(msgspec.Struct):
    """One completion, or a piece of it."""

    text: str | None = None
    index: int | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class WireTexts(msgspec.Struct):
    """A whole reply, or one chunk of a stream."""

    id: str | None = None
    model: str | None = None
    choices: list[WireText] | None = None
    usage: WireUsage | None = None
    error: Any = None


class TextProvider:
    """Completions of a text at `api_base`, else at OPENAI_BASE_URL, else at OpenAI."""

    def __init__(self, endpoint: Endpoint, http: HttpClient) -> None:
        self.endpoint = endpoint
        self.base_url = base_of(endpoint)
        self._options = read_options(endpoint.options)
        has_grammar = self._options.server != "openai"
        self.capabilities: Capabilities | None = Capabilities(
            chat=False, stream=True, json_schema=False, tools=False, images=False, reasoning=False, grammar=has_grammar
        )
        self._http = http
        self._headers = own_headers(endpoint, self._options)
        self._lacks_key = lacks_key(endpoint, self.base_url)
        self._decoder = msgspec.json.Decoder(WireTexts)

    async def complete(self, request: LMRequest) -> LMResponse:
        """The whole reply. Raises LMError classes."""
        body = self._body(request)
        reply = await self._http.request("POST", f"{self.base_url}/completions", json=body, headers=self._headers)
        return self._response(decode_json(reply.body, self._decoder), request.n)

    async def stream(self, request: LMRequest) -> AsyncIterator[LMDelta]:
        """The reply in pieces; the last has finish reason and usage. Raises LMError classes.

        An error after the first piece is not to be tried again and has the text so far in `.partial`.
        """
        body = self._body(request) | {"stream": True}
        body.pop("n", None)
        if self._options.stream_usage:
            body["stream_options"] = {"include_usage": True}
        streamed = _Streamed()
        events = self._http.events("POST", f"{self.base_url}/completions", json=body, headers=self._headers)
        try:
            async with aclosing(events) as running:
                async for event in running:
                    if event.event == "body":
                        whole = self._response(decode_json(event.data, self._decoder), 1)
                        yield LMDelta(whole.text, (), whole.choices[0].finish_reason or "stop", whole.usage)
                        return
                    if event.data == "[DONE]":
                        break
                    text = streamed.add(self._checked(decode_json(event.data, self._decoder)))
                    if text:
                        yield LMDelta(text)
            if streamed.finish_reason is None:
                raise ProtocolError("The stream ended before its last piece.")
        except LMError as error:
            if streamed.finish_reason is None or not isinstance(error, BROKEN):
                if streamed.text:
                    error.partial, error.retryable = streamed.text, False
                raise
        if streamed.finish_reason == "content_filter":
            raise filtered(None)
        yield LMDelta("", (), streamed.finish_reason or "stop", streamed.usage)

    def _body(self, request: LMRequest) -> dict[str, Any]:
        if self._lacks_key:
            raise no_key(self.endpoint)
        if request.tools:
            raise BadRequest("A completion of a text calls no tools (capability: tools).")
        if request.schema is not None:
            raise BadRequest("A completion of a text is held to no schema (capability: json_schema).")
        body = {"model": request.model, "prompt": to_prompt(request), **_params(request.params, self._options)}
        return body | ({"n": request.n} if request.n > 1 else {})

    def _checked(self, reply: WireTexts) -> WireTexts:
        if reply.error is not None:
            raise error_of(reply.error, self.endpoint)
        return reply

    def _response(self, reply: WireTexts, n: int) -> LMResponse:
        given = sorted(self._checked(reply).choices or (), key=lambda choice: choice.index or 0)[:n]
        if not given or any(choice.text is None for choice in given):
            raise ProtocolError("The reply has no choices, or no text in one.", code="retry_once")
        kept = [choice for choice in given if choice.finish_reason != "content_filter"]
        if not kept:
            raise filtered(None)
        choices = tuple(Choice(one.text or "", (), one.finish_reason, to_chat_form(one.logprobs)) for one in kept)
        return LMResponse(choices, reply.usage.to_usage() if reply.usage else None, reply.model or "", reply.id or "")


def to_prompt(request: LMRequest) -> str:
    """The texts of all messages, a blank line between. Raises BadRequest for what is no text, naming the capability."""
    for message in request.messages:
        for part in message.parts:
            if not isinstance(part, Text):
                kind = {"Image": "images", "Audio": "audio", "File": "files"}.get(type(part).__name__, "tools")
                raise BadRequest(f"A completion of a text reads text only (capability: {kind}).")
    return "\n\n".join(message.text for message in request.messages)


def to_chat_form(given: Mapping[str, Any] | None) -> Any:
    """Log-probabilities in the form of chat completions; llama.cpp has that already."""
    if not given or "content" in given:
        return given or None
    tops = given.get("top_logprobs") or []
    rows = zip(given.get("tokens") or (), given.get("token_logprobs") or (), strict=False)
    return {
        "content": [
            _row(token, logprob) | {"top_logprobs": [_row(*top) for top in (tops[place] or {}).items()] if tops else []}
            for place, (token, logprob) in enumerate(rows)
        ]
    }


def _row(token: str, logprob: float | None) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": None}


def _params(given: Mapping[str, Any], options: OpenAIOptions) -> dict[str, Any]:
    made = {name: value for name, value in given.items() if value is not None}
    made |= made.pop("extra_body", {})
    for name in _LACKING:
        if name in made:
            capability = "reasoning" if name == "reasoning_effort" else name
            raise BadRequest(f"Completions of texts have no {name!r} (capability: {capability}).")
    if "max_completion_tokens" in made:
        made["max_tokens"] = made.pop("max_completion_tokens")
    if made.get("logprobs") is True:
        made["logprobs"] = 1
    if "grammar" in made and options.server == "openai":
        raise BadRequest("grammar: this endpoint is not said to take grammars; say server='llamacpp' or server='vllm'.")
    if "grammar" in made and options.server == "vllm":
        made["structured_outputs"] = {"grammar": made.pop("grammar")}
    return made


class _Streamed:
    """One streamed completion: what has come so far, and how it ended."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.usage: Any = None
        self._texts: list[str] = []
        self._size = 0

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def add(self, reply: WireTexts) -> str:
        if reply.usage is not None:
            self.usage = reply.usage.to_usage()
        for choice in reply.choices or ():
            if choice.index:
                continue
            self.finish_reason = choice.finish_reason or self.finish_reason
            self._texts.append(choice.text or "")
            self._size += len(self._texts[-1])
            if self._size > MAX_STREAM_TEXT:
                raise ProtocolError(f"The stream has more than {MAX_STREAM_TEXT} characters.", retryable=False)
            return self._texts[-1]
        return ""
