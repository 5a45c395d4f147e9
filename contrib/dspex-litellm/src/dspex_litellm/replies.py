"""LiteLLM's replies, whole and in pieces, in our form: it has made them all to look like OpenAI's."""

from typing import Any

import msgspec

from dspex.plugin import (
    Choice,
    ContentFiltered,
    Endpoint,
    LMDelta,
    LMResponse,
    ProtocolError,
    ToolCall,
    ToolCallPiece,
    Usage,
)

MAX_STREAM_TEXT = 4 << 20


class Function(msgspec.Struct):
    """A tool's name and arguments; in a stream, a piece of each."""

    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct):
    """A call of a tool, or in a stream a piece of one."""

    id: str | None = None
    index: int | None = None
    function: Function | None = None


class Said(msgspec.Struct):
    """What the model says; in a stream, a piece of it."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[Call] | None = None


class Completion(msgspec.Struct):
    """One completion, whole (`message`) or a piece (`delta`)."""

    index: int | None = None
    message: Said | None = None
    delta: Said | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class Details(msgspec.Struct):
    """What is counted apart."""

    cached_tokens: int | None = None
    cache_creation_tokens: int | None = None
    reasoning_tokens: int | None = None


class Tokens(msgspec.Struct):
    """Tokens of a whole reply."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None


class Reply(msgspec.Struct):
    """A whole reply, or one piece of a stream."""

    id: str | None = None
    model: str | None = None
    choices: list[Completion] | None = None
    usage: Tokens | None = None


def read(given: Any) -> Reply:
    """What LiteLLM's object holds. Raises ProtocolError."""
    try:
        return msgspec.convert(given.model_dump(warnings=False), Reply)
    except (msgspec.ValidationError, AttributeError, TypeError) as error:
        raise ProtocolError(f"LiteLLM gave what is no reply: {str(error)[:200]}", code="retry_once") from error


def to_response(given: Any, n: int, endpoint: Endpoint) -> LMResponse:
    """The reply in our form, with at most `n` choices. Raises ProtocolError and ContentFiltered."""
    reply = read(given)
    choices = sorted(reply.choices or (), key=lambda choice: choice.index or 0)[:n]
    if not choices:
        raise ProtocolError("The reply has no choices.", code="retry_once")
    cost = (getattr(given, "_hidden_params", None) or {}).get("response_cost")
    usage = to_usage(reply.usage, cost)
    return LMResponse(tuple(map(_choice, choices)), usage, reply.model or endpoint.model, reply.id or "")


def to_usage(tokens: Tokens | None, cost: float | None) -> Usage | None:
    """Tokens, and what LiteLLM thinks they cost, where it knows the model's price."""
    if tokens is None:
        return None
    read_, written = tokens.prompt_tokens_details or Details(), tokens.completion_tokens_details or Details()
    return Usage(
        input_tokens=tokens.prompt_tokens or 0,
        output_tokens=tokens.completion_tokens or 0,
        cached_tokens=read_.cached_tokens or 0,
        reasoning_tokens=written.reasoning_tokens or 0,
        usd=cost or None,
        written_tokens=read_.cache_creation_tokens or 0,
    )


def _choice(choice: Completion) -> Choice:
    said = choice.message or Said()
    _check(said.refusal, choice.finish_reason)
    if said.content is None and not said.tool_calls and choice.finish_reason != "length":
        raise ProtocolError("The reply has neither text nor a tool call.", code="retry_once")
    calls = Calls()
    for place, call in enumerate(said.tool_calls or ()):
        calls.add(call, place)
    logprobs = choice.logprobs if choice.logprobs and choice.logprobs.get("content") else None
    return Choice(said.content or "", calls.done(), choice.finish_reason, logprobs, said.reasoning_content or None)


def _check(refusal: str | None, reason: str | None) -> None:
    if refusal or reason == "content_filter":
        said = f"The model refuses: {refusal[:500]}" if refusal else "The provider's content policy cut the reply."
        raise ContentFiltered(said, code="refusal" if refusal else "content_filter")


class Calls:
    """Calls of tools, put together from their pieces."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[list[str], list[str], list[str]]] = {}

    def add(self, piece: Call, place: int) -> ToolCallPiece:
        """Take a piece of the call of that index, and give it in our form."""
        index = piece.index if piece.index is not None else place
        ids, names, arguments = self._open.setdefault(index, ([], [], []))
        function = piece.function or Function()
        ids.append(piece.id or "")
        names.append(function.name or "")
        arguments.append(function.arguments or "")
        return ToolCallPiece(index, piece.id or "", function.name or "", function.arguments or "")

    def done(self) -> tuple[ToolCall, ...]:
        """The calls in order, each with an id of its own."""
        made: dict[str, ToolCall] = {}
        for index, (ids, names, arguments) in sorted(self._open.items()):
            given = next(filter(None, ids), "")
            call_id = given if given and given not in made else f"{given or 'call'}_{index}"
            made[call_id] = ToolCall(call_id, "".join(names), "".join(arguments) or "{}")
        return tuple(made.values())


class StreamedReply:
    """One streamed completion: what has come so far, and how it ended."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self._texts: list[str] = []
        self._refusal: list[str] = []
        self._usage: Usage | None = None
        self._calls = Calls()
        self._size = 0

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    @property
    def has_begun(self) -> bool:
        """Whether a reader has seen anything of it."""
        return bool(self._texts)

    def add(self, given: Any) -> LMDelta | None:
        """Take a piece; what a reader wants to see of it, if anything. Raises ProtocolError when it passes 4 MiB."""
        reply = read(given)
        self._usage = to_usage(reply.usage, None) or self._usage
        choice = next((one for one in reply.choices or () if not one.index), None)
        if choice is None:
            return None
        self.finish_reason = choice.finish_reason or self.finish_reason
        delta = choice.delta or Said()
        calls = tuple(self._calls.add(call, place) for place, call in enumerate(delta.tool_calls or ()))
        self._size += sum(len(call.arguments) for call in calls)
        self._refusal.append(delta.refusal or "")
        text, thought = delta.content or "", delta.reasoning_content or ""
        self._size += len(text) + len(thought)
        if self._size > MAX_STREAM_TEXT:
            raise ProtocolError(f"The stream has more than {MAX_STREAM_TEXT} characters.", retryable=False)
        if not text and not thought and not calls:
            return None
        self._texts.append(text)
        return LMDelta(text, reasoning=thought or None, tool_call_pieces=calls)

    def last(self) -> LMDelta:
        """The last piece, with all tool calls. Raises ContentFiltered and ProtocolError."""
        _check("".join(self._refusal), self.finish_reason)
        if not self._size and not self._calls.done() and self.finish_reason != "length":
            # LiteLLM finds a reason to stop in what is no stream at all, as a web page.
            raise ProtocolError("The stream has neither text nor a tool call.", code="retry_once")
        return LMDelta("", self._calls.done(), self.finish_reason or "stop", self._usage)
