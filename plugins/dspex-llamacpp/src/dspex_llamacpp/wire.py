"""Requests in the engine's form, and the engine's chunks in ours; plain functions, nothing is loaded or called."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import msgspec

from dspex.plugin import (
    BadRequest,
    Choice,
    ContextWindowExceeded,
    LMDelta,
    LMError,
    LMRequest,
    LMResponse,
    Message,
    ProtocolError,
    Text,
    Thought,
    Unavailable,
    Usage,
)

# A base model goes on until it is stopped.
DEFAULT_MAX_TOKENS = 256
DEFAULT_TEMPERATURE = 0.0
MOST_LOGPROBS = 100  # tokens that are shown beside one
# The engine reads a seed as 32 bits, of which the highest value means "any".
SEEDS = 0xFFFFFFFF
# Compact JSON, so that a small model has no room for blank lines; keywords that the engine cannot enforce are left out.
GUIDANCE = MappingProxyType({"x-guidance": {"whitespace_flexible": False, "lenient": True}})
JSON_STARTS = frozenset('{["-0123456789tfn')
# A grammar that has one of some labels follow a blank lets the blank be a token of its own. A prompt seldom goes on so in
# what a model has read: it then answers at random (a film review's feeling: 23 of 40 right, and 28 where the blank belongs to
# the label's first token). Finite, so that the blank still comes before what has no such token, like a digit.
AFTER_BLANK, BLANK_BIAS = 'root ::= " " (', MappingProxyType({" ": -100.0})

CAPABILITY_OF = MappingProxyType(
    {
        "tool_choice": "tools",
        "parallel_tool_calls": "tools",
        "functions": "tools",
        "function_call": "tools",
        "reasoning_effort": "reasoning",
        "thinking": "reasoning",
        "modalities": "audio",
    }
)

Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Sampling(msgspec.Struct, frozen=True):
    """The parameters that the engine honours: OpenAI's names, and four of its own (grammar, top_k, min_p, repeat_penalty)."""

    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    min_p: Share | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    stop: str | list[Annotated[str, msgspec.Meta(min_length=1)]] | None = None
    logprobs: bool | Annotated[int, msgspec.Meta(ge=0, le=MOST_LOGPROBS)] | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=MOST_LOGPROBS)] | None = None
    response_format: dict[str, Any] | None = None
    grammar: str | None = None


# Those that go to the engine as they are.
PLAIN = (
    *("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repeat_penalty"),
    *("logit_bias", "grammar"),
)
HONOURED = tuple(field.name for field in msgspec.structs.fields(Sampling))


class Reply(msgspec.Struct):
    """What has come of one generation so far."""

    texts: list[str] = []
    reasoning: list[str] = []
    logprobs: list[Any] = []
    finish_reason: str | None = None
    usage: Usage | None = None
    id: str = ""

    def take(self, chunk: Mapping[str, Any]) -> LMDelta | None:
        """Add a chunk; what is new in it, if anything. Raises LMError classes for an error in its place."""
        if "error" in chunk:
            raise to_error(chunk["error"], self.text)
        self.id = chunk.get("id") or self.id
        if chunk.get("usage"):
            self.usage = _to_usage(chunk["usage"])
        for choice in chunk.get("choices") or ():
            return self._take_choice(choice)
        return None

    def _take_choice(self, choice: Mapping[str, Any]) -> LMDelta | None:
        delta = choice.get("delta") or {}
        text = choice.get("text") or delta.get("content") or ""
        thought = delta.get("reasoning_content") or None
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        self.logprobs += (choice.get("logprobs") or {}).get("content") or ()
        if text:
            self.texts.append(text)
        if thought:
            self.reasoning.append(thought)
        return LMDelta(text, reasoning=thought) if text or thought else None

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.texts)

    def to_choice(self) -> Choice:
        """The whole, as one choice; log-probabilities have the shape of OpenAI's chat replies."""
        logprobs = {"content": self.logprobs} if self.logprobs else None
        return Choice(self.text, (), self.finish_reason, logprobs, "".join(self.reasoning) or None)


def read_sampling(request: LMRequest) -> Sampling:
    """The parameters of a request, checked. Raises BadRequest for what the engine cannot honour, naming the capability."""
    if request.tools:
        raise _refused(request, "tools", "tools")
    for name in request.params:
        if name not in HONOURED:
            raise _refused(request, name, CAPABILITY_OF.get(name, name))
    try:
        sampling = msgspec.convert(dict(request.params), Sampling)
    except msgspec.ValidationError as error:
        raise BadRequest(f"A parameter is wrong: {error}", model=request.model, provider="llamacpp") from error
    if sampling.stop == "":
        raise BadRequest(
            "An empty stop string would end every reply at once.", model=request.model, provider="llamacpp"
        )
    if sampling.grammar is not None and _schema_of(request, sampling) is not None:
        message = "grammar and a JSON schema exclude each other: leave one of the two out."
        raise BadRequest(message, model=request.model, provider="llamacpp")
    return sampling


def _refused(request: LMRequest, name: str, capability: str) -> BadRequest:
    return BadRequest(
        f"The embedded model cannot honour {name!r} (capability: {capability}). It knows: {', '.join(HONOURED)}, n and a "
        "JSON schema.",
        model=request.model,
        provider="llamacpp",
        code="unsupported",
    )


def to_body(
    request: LMRequest,
    sampling: Sampling,
    *,
    chat: bool,
    keep_prefix: bool,
    index: int,
    to_grammar: Callable[[Mapping[str, Any]], str],
) -> dict[str, Any]:
    """The engine's request for choice number `index`; a seed is shifted by it, so that choices differ."""
    body: dict[str, Any] = {
        "stream": True,
        "stream_options": {"include_usage": True},
        # A chunk for each batch of the prompt, as a call can only be ended at a chunk.
        "return_progress": True,
        "cache_prompt": keep_prefix,
        "temperature": DEFAULT_TEMPERATURE,
        "max_tokens": sampling.max_tokens or sampling.max_completion_tokens or DEFAULT_MAX_TOKENS,
        **{name: value for name in PLAIN if (value := getattr(sampling, name)) is not None},
        **_logprobs(sampling, chat=chat),
    }
    if chat:
        body["messages"] = [{"role": message.role, "content": _text(request, message)} for message in request.messages]
    else:
        body["prompt"] = "\n\n".join(_text(request, message) for message in request.messages)
    if sampling.stop is not None:
        body["stop"] = [sampling.stop] if isinstance(sampling.stop, str) else sampling.stop
    if sampling.grammar is not None and sampling.grammar.startswith(AFTER_BLANK):
        body["logit_bias"] = {**BLANK_BIAS, **(sampling.logit_bias or {})}
    if sampling.seed is not None:
        body["seed"] = (sampling.seed + index) % SEEDS
    if (schema := _schema_of(request, sampling)) is not None:
        body["grammar"] = to_grammar({**schema, **GUIDANCE})
    return body


def _text(request: LMRequest, message: Message) -> str:
    for part in message.parts:
        if not isinstance(part, Text | Thought):
            kind = type(part).__name__
            capability = "tools" if kind.startswith("Tool") else f"{kind.lower()}s"
            raise _refused(request, f"a message part of type {kind}", capability)
    return message.text


def _logprobs(sampling: Sampling, *, chat: bool) -> dict[str, Any]:
    asked = sampling.logprobs
    if asked is None or asked is False:
        return {}
    count = sampling.top_logprobs if sampling.top_logprobs is not None else int(asked)
    return {"logprobs": True, "top_logprobs": count} if chat else {"logprobs": max(1, count)}


def _schema_of(request: LMRequest, sampling: Sampling) -> Mapping[str, Any] | None:
    if request.schema is not None:
        return request.schema
    wanted = sampling.response_format or {}
    match wanted.get("type", "text"):
        case "text":
            return None
        case "json_object":
            return {"type": "object"}
        case "json_schema":
            schema: Mapping[str, Any] = (wanted.get("json_schema") or {}).get("schema") or {}
            return schema
    raise _refused(request, "response_format", f"response_format of type {wanted['type']}")


def check_json(request: LMRequest, sampling: Sampling, reply: Reply) -> None:
    """Raises BadRequest if a reply that should follow a JSON schema is no JSON.

    The engine answers freely, without a word, where it cannot follow a schema: a reference that leads nowhere, a
    pattern that is no regular expression.
    """
    if _schema_of(request, sampling) is None or not reply.text:
        return
    if reply.text[0] in JSON_STARTS and (reply.finish_reason != "stop" or sampling.stop or _is_json(reply.text)):
        return
    raise BadRequest(
        "The engine cannot follow this JSON schema (capability: json_schema) and answered freely instead. "
        "References and patterns are its usual faults.",
        model=request.model,
        provider="llamacpp",
        partial=reply.text,
    )


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True


def to_response(replies: Sequence[Reply], model: str) -> LMResponse:
    """Replies to one request as one; the prompt counts once, as other providers count it."""
    first = replies[0].usage
    usage = None
    if first is not None:
        output = sum(reply.usage.output_tokens for reply in replies if reply.usage)
        usage = msgspec.structs.replace(first, output_tokens=output)
    return LMResponse(tuple(reply.to_choice() for reply in replies), usage, model, replies[0].id)


def _to_usage(given: Mapping[str, Any]) -> Usage:
    cached = (given.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(given.get("prompt_tokens") or 0, given.get("completion_tokens") or 0, cached)


def to_error(given: Mapping[str, Any], partial: str = "") -> LMError:
    """An error of the engine as one of ours."""
    said, kind, code = str(given.get("message", given)), given.get("type"), given.get("code")
    if kind == "exceed_context_size_error":
        size, limit = given.get("n_prompt_tokens", "?"), given.get("n_ctx", "?")
        return ContextWindowExceeded(
            f"The prompt has {size} tokens, and this model was opened for {limit}, answer included. Shorten it, or give "
            "it more by LM(..., context=...).",
            provider="llamacpp",
            status=400,
            code="context_length_exceeded",
        )
    if code == 400:
        return BadRequest(f"The engine refuses the request: {said}", provider="llamacpp", status=400)
    if partial:
        return ProtocolError(f"The engine broke off: {said}", provider="llamacpp", partial=partial)
    return Unavailable(
        f"The engine failed: {said}", provider="llamacpp", status=code if isinstance(code, int) else None
    )
