"""Replies of OpenAI's chat completions, whole and in pieces, in our form; plain functions, nothing is called.

Only what is read is declared: a fault in any other field of a reply is not looked at.
"""

import warnings
from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

import msgspec

from dspex.plugin import (
    Choice,
    ContentFiltered,
    Endpoint,
    LMDelta,
    LMError,
    LMResponse,
    ProtocolError,
    ToolCall,
    ToolCallPiece,
    Unavailable,
    Usage,
    status_error,
)

MAX_STREAM_TEXT = 4 << 20
# What some services have in place of OpenAI's own words (Mistral, Together), and for what broke off on their side (DeepSeek, vLLM,
# OpenRouter, Mistral).
_REASONS = MappingProxyType({"model_length": "length", "eos": "stop"})
_BROKEN_OFF = frozenset({"abort", "error", "insufficient_system_resource"})


class WireFunction(msgspec.Struct):
    """A tool's name and arguments; in a stream, a piece of each."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """The arguments as JSON text; some servers send them decoded."""
        given = self.arguments
        return given if isinstance(given, str) else "" if given is None else msgspec.json.encode(given).decode()


class WireCall(msgspec.Struct):
    """A call of a tool, or in a stream a piece of one, told apart by `index`."""

    id: str | None = None
    index: int | None = None
    function: WireFunction | None = None


class WirePart(msgspec.Struct):
    """A part of a content that comes as a list: what is said, or what is thought, as text or (Mistral) in parts of its own."""

    text: str | None = None
    thinking: Any = None

    @property
    def thought(self) -> str:
        """What is thought, empty for none."""
        given = self.thinking
        if isinstance(given, list):
            return "".join(str(part.get("text") or "") for part in given if isinstance(part, dict))
        return given if isinstance(given, str) else ""


class WireMessage(msgspec.Struct):
    """What the model says; in a stream, a piece of it. Servers have two names for what it thinks."""

    content: str | list[WirePart] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[WireCall] | None = None

    @property
    def text(self) -> str:
        """The text, empty for none."""
        given = self.content
        return given if isinstance(given, str) else "".join(part.text or "" for part in given or ())

    @property
    def thought(self) -> str | None:
        """The reasoning, where it is shown."""
        given = self.content
        if isinstance(given, list):
            return "".join(part.thought for part in given) or self.reasoning_content or self.reasoning or None
        return self.reasoning_content or self.reasoning or None


class WireChoice(msgspec.Struct):
    """One completion, whole (`message`) or a piece (`delta`)."""

    index: int | None = None
    message: WireMessage | None = None
    delta: WireMessage | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None
    error: Any = None


class WireDetails(msgspec.Struct):
    """What is counted apart within the tokens of a prompt or a completion."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


NO_DETAILS = WireDetails()


class WireUsage(msgspec.Struct):
    """Tokens of a whole reply."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: WireDetails | None = None
    completion_tokens_details: WireDetails | None = None

    def to_usage(self) -> Usage:
        """The same in our form; calls are counted by who makes them."""
        prompt, completion = self.prompt_tokens or 0, self.completion_tokens or 0
        if self.prompt_tokens_details is None and self.completion_tokens_details is None:
            return Usage(prompt, completion)
        read, written = self.prompt_tokens_details or NO_DETAILS, self.completion_tokens_details or NO_DETAILS
        thought = written.reasoning_tokens or 0
        if thought and self.total_tokens == prompt + completion + thought:
            completion += thought  # xAI, and Gemini in OpenAI's form, count thoughts beside the completion
        put = read.cache_write_tokens or 0  # OpenRouter's word
        return Usage(prompt, completion, read.cached_tokens or 0, thought, written_tokens=put)


class WireReply(msgspec.Struct):
    """A whole reply, or one chunk of a stream."""

    id: str | None = None
    model: str | None = None
    choices: list[WireChoice] | None = None
    usage: WireUsage | None = None
    error: Any = None


def to_response(reply: WireReply, n: int, endpoint: Endpoint) -> LMResponse:
    """The reply in our form, with at most `n` choices in the order of their index.

    Raises ProtocolError where there is no choice or nothing in one, ContentFiltered for a refusal or where a policy cut
    every choice, and what an `error` object in its place means.
    """
    if reply.error is not None:
        raise error_of(reply.error, endpoint)
    given = reply.choices
    if not given:
        raise ProtocolError("The reply has no choices.", code="retry_once")
    if len(given) == 1 == n and given[0].finish_reason != "content_filter":
        choices: tuple[Choice, ...] = (to_choice(given[0], endpoint),)
    else:
        choices = tuple(to_choice(choice, endpoint) for choice in _kept(given, n, endpoint))
    usage = reply.usage.to_usage() if reply.usage else None
    return LMResponse(choices, usage, reply.model or "", reply.id or "")


def _kept(given: list[WireChoice], n: int, endpoint: Endpoint) -> list[WireChoice]:
    """Those of several that no policy cut, in order."""
    first = sorted(given, key=lambda choice: choice.index or 0)[:n]
    kept = [choice for choice in first if choice.finish_reason != "content_filter"]
    if not kept:
        raise filtered(None)
    if len(kept) < n:
        warnings.warn(f"{endpoint.model} gave {len(kept)} of {n} choices asked for.", RuntimeWarning, stacklevel=3)
    return kept


def to_choice(choice: WireChoice, endpoint: Endpoint) -> Choice:
    """One completion in our form."""
    if choice.finish_reason in _BROKEN_OFF:
        raise broken_off(choice, endpoint)
    message = choice.message or WireMessage()
    if message.refusal:
        raise filtered(message.refusal)
    # A model that thinks first may reach max_tokens before its first word: that is an answer, and a short one.
    if message.content is None and not message.tool_calls and choice.finish_reason != "length":
        raise ProtocolError("The reply has neither text nor a tool call.", code="retry_once")
    calls = _calls(message.tool_calls) if message.tool_calls else ()
    reason = choice.finish_reason
    return Choice(message.text, calls, _REASONS.get(reason or "", reason), choice.logprobs, message.thought)


def _calls(given: Iterable[WireCall]) -> tuple[ToolCall, ...]:
    calls = ToolCalls()
    for number, call in enumerate(given):
        calls.add(call, number)
    return calls.done()


def error_of(given: Any, endpoint: Endpoint) -> LMError:
    """What an `error` object means that comes where an answer was expected."""
    return status_error(endpoint, 200, {}, msgspec.json.encode({"error": given}))


def broken_off(choice: WireChoice, endpoint: Endpoint) -> LMError:
    """The error for a reply that its service did not bring to an end, though it sent it."""
    if choice.error is not None:
        return error_of(choice.error, endpoint)
    return Unavailable(f"{endpoint.provider} broke the reply off on its side ({choice.finish_reason}).")


def filtered(refusal: str | None) -> ContentFiltered:
    """The error for a reply that the model or a policy refused."""
    said = f"The model refuses: {refusal[:500]}" if refusal else "The provider's content policy cut the reply."
    return ContentFiltered(said, code="refusal" if refusal else "content_filter")


class ToolCalls:
    """Calls of tools, put together from their pieces; two of one index are one, two of one id stay two."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[str, list[str], list[str]]] = {}

    def add(self, piece: WireCall, index: int | None = None) -> ToolCallPiece:
        """Take a piece, and give it in our form.

        Without an index an id begins a new call, and nothing at all goes on with the only one.

        Raises ProtocolError where it cannot be told to which call a piece belongs.
        """
        index = piece.index if index is None else index
        if index is None and piece.id:
            index = next((key for key, known in self._open.items() if known[0] == piece.id), len(self._open))
        if index is None:
            if len(self._open) != 1:
                raise ProtocolError("A piece of a tool call has neither an index nor an id.", code="retry_once")
            index = next(iter(self._open))
        function = piece.function or WireFunction()
        call_id, names, arguments = self._open.setdefault(index, (piece.id or "", [], []))
        if piece.id and not call_id:
            self._open[index] = (piece.id, names, arguments)
        names.append(function.name or "")
        arguments.append(function.text)
        return ToolCallPiece(index, piece.id or "", function.name or "", function.text)

    def done(self) -> tuple[ToolCall, ...]:
        """The calls in order, each with an id of its own."""
        made: dict[str, ToolCall] = {}
        for index, (given, names, arguments) in sorted(self._open.items()):
            call_id = given if given and given not in made else f"{given or 'call'}_{index}"
            made[call_id] = ToolCall(call_id, "".join(names), "".join(arguments) or "{}")
        return tuple(made.values())


class StreamedReply:
    """One streamed completion: what has come so far, and how it ended."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.finish_reason: str | None = None
        self._endpoint = endpoint
        self._texts: list[str] = []
        self._refusal: list[str] = []
        self._usage: Usage | None = None
        self._calls = ToolCalls()
        self._size = 0

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    @property
    def has_begun(self) -> bool:
        """Whether a reader has seen anything of it."""
        return bool(self._texts)

    def add(self, choices: Iterable[WireChoice], usage: WireUsage | None) -> LMDelta | None:
        """Take a chunk; what a reader wants to see of it, if anything. Choices of another index are not ours.

        Raises ProtocolError when the text passes 4 MiB.
        """
        if usage is not None:
            self._usage = usage.to_usage()
        for choice in choices:
            if choice.index:
                continue
            if choice.finish_reason in _BROKEN_OFF:
                raise broken_off(choice, self._endpoint)
            self.finish_reason = choice.finish_reason or self.finish_reason
            delta = choice.delta
            return None if delta is None else self._take(delta)
        return None

    def _take(self, delta: WireMessage) -> LMDelta | None:
        text, thought = delta.text, delta.thought
        calls: tuple[ToolCallPiece, ...] = ()
        if delta.tool_calls:
            calls = tuple(map(self._calls.add, delta.tool_calls))
            self._size += sum(len(call.arguments) for call in calls)
        if delta.refusal:
            self._refusal.append(delta.refusal)
        self._size += len(text) + len(thought or "")
        if self._size > MAX_STREAM_TEXT:
            raise ProtocolError(f"The stream has more than {MAX_STREAM_TEXT} characters.", retryable=False)
        if not text and not thought and not calls:
            return None
        self._texts.append(text)
        return LMDelta(text, reasoning=thought, tool_call_pieces=calls)

    def last(self) -> LMDelta:
        """The last piece, with all tool calls. Raises ContentFiltered."""
        if self._refusal or self.finish_reason == "content_filter":
            raise filtered("".join(self._refusal))
        reason = self.finish_reason or "stop"
        return LMDelta("", self._calls.done(), _REASONS.get(reason, reason), self._usage)
