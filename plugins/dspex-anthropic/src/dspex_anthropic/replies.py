"""Replies of the messages API, whole and in pieces, in our form; plain functions and what holds a stream together.

Only what is read is declared: a fault in any other field of a reply is not looked at.
"""

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
    Usage,
    status_error,
)
from dspex_anthropic.schemas import REPLY_TOOL

MAX_STREAM_TEXT = 4 << 20
_REASONS = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool_calls",
    }
)


class WireBlock(msgspec.Struct):
    """A block of a reply: a text, a thought, or a call of a tool."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")


class WireDetails(msgspec.Struct):
    """What is counted apart within the tokens of a reply."""

    thinking_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """Tokens; those read from Anthropic's cache, or written to it, are not among the input's. In a stream, so far."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: WireDetails | None = None

    def to_usage(self) -> Usage:
        """The same in our form; calls are counted by who makes them."""
        read, written = self.cache_read_input_tokens or 0, self.cache_creation_input_tokens or 0
        details = self.output_tokens_details or WireDetails()
        return Usage(
            input_tokens=(self.input_tokens or 0) + written + read,
            output_tokens=self.output_tokens or 0,
            cached_tokens=read,
            reasoning_tokens=details.thinking_tokens or 0,
            written_tokens=written,
        )


class WireStop(msgspec.Struct):
    """More about a reply's end."""

    explanation: str | None = None


class WireReply(msgspec.Struct):
    """A whole reply, or the head of a stream."""

    id: str | None = None
    model: str | None = None
    content: list[WireBlock] | None = None
    stop_reason: str | None = None
    stop_details: WireStop | None = None
    usage: WireUsage | None = None
    error: Any = None


class WireDelta(msgspec.Struct):
    """What a piece of a stream adds to a block or to the reply."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_details: WireStop | None = None


class WireEvent(msgspec.Struct):
    """One event of a stream."""

    type: str | None = None
    index: int = 0
    message: WireReply | None = None
    content_block: WireBlock | None = None
    delta: WireDelta | None = None
    usage: WireUsage | None = None
    error: Any = None


def to_response(reply: WireReply, endpoint: Endpoint) -> LMResponse:
    """The reply in our form.

    Raises ProtocolError where there is no content, ContentFiltered for a refusal, and what an `error` object in its place
    means.
    """
    if reply.error is not None:
        raise error_of(reply.error, endpoint)
    if reply.content is None:
        raise ProtocolError("The reply has no content.", code="retry_once")
    if reply.stop_reason == "refusal":
        raise refused(reply.stop_details)
    calls = [block for block in reply.content if block.type == "tool_use"]
    text = "".join(_text(block) for block in reply.content)
    thought = "".join(block.thinking or "" for block in reply.content if block.type == "thinking")
    made = _distinct([(call.id or "", call.name or "", _raw(call.input)) for call in calls if call.name != REPLY_TOOL])
    usage = reply.usage.to_usage() if reply.usage else None
    choice = Choice(text, made, finish_reason(reply.stop_reason, made), None, thought or None)
    return LMResponse((choice,), usage, reply.model or "", reply.id or "")


def finish_reason(stop_reason: str | None, calls: tuple[ToolCall, ...]) -> str | None:
    """Why a reply ended, in OpenAI's words where it has one; a reply by our own tool just stops."""
    reason = _REASONS.get(stop_reason or "", stop_reason)
    return "stop" if reason == "tool_calls" and not calls else reason


def error_of(given: Any, endpoint: Endpoint) -> LMError:
    """What an `error` object means that comes where an answer was expected."""
    return status_error(endpoint, 200, {}, msgspec.json.encode({"error": given}))


def refused(details: WireStop | None) -> ContentFiltered:
    """The error for a reply that the model, or what watches over it, refused."""
    said = details.explanation if details else None
    return ContentFiltered(f"The model refuses: {said[:500]}" if said else "The model refuses.", code="refusal")


def _text(block: WireBlock) -> str:
    if block.type == "tool_use" and block.name == REPLY_TOOL:
        return _raw(block.input)
    return block.text or "" if block.type == "text" else ""


def _raw(value: msgspec.Raw) -> str:
    return bytes(value).decode("utf-8", "replace")


def _distinct(calls: list[tuple[str, str, str]]) -> tuple[ToolCall, ...]:
    """Calls (id, name, arguments), each with an id of its own."""
    made: dict[str, ToolCall] = {}
    for place, (given, name, arguments) in enumerate(calls):
        call_id = given if given and given not in made else f"{given or 'call'}_{place}"
        made[call_id] = ToolCall(call_id, name, arguments or "{}")
    return tuple(made.values())


def _piece(index: int, arguments: str, block: WireBlock | None = None) -> LMDelta:
    head = ("", "") if block is None else (block.id or "", block.name or "")
    return LMDelta(tool_call_pieces=(ToolCallPiece(index, *head, arguments),))


class OpenCall:
    """A call of a tool while its arguments come."""

    def __init__(self, block: WireBlock) -> None:
        self.block = block
        self.pieces: list[str] = []

    @property
    def arguments(self) -> str:
        """The arguments so far; some servers send them whole, with the call's head."""
        return "".join(self.pieces) or _raw(self.block.input)


class StreamedReply:
    """One streamed reply: what has come so far, and how it ended."""

    def __init__(self) -> None:
        self.stop_reason: str | None = None
        self.is_over = False
        self._texts: list[str] = []
        self._calls: dict[int, OpenCall] = {}
        self._usage: WireUsage | None = None
        self._details: WireStop | None = None
        self._size = 0

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    @property
    def has_begun(self) -> bool:
        """Whether a reader has seen anything of it."""
        return bool(self._texts or self._calls)

    def add(self, event: WireEvent) -> LMDelta | None:
        """Take an event; what a reader wants to see of it, if anything. Pings and unknown events say nothing.

        Raises ProtocolError for a piece that belongs to no call, and when the reply passes 4 MiB.
        """
        match event.type:
            case "message_start" if event.message is not None:
                self._count(event.message.usage)
            case "content_block_start" if event.content_block is not None:
                return self._begin(event.index, event.content_block)
            case "content_block_delta" if event.delta is not None:
                return self._take(event.index, event.delta)
            case "message_delta":
                self._count(event.usage)
                delta = event.delta or WireDelta()
                self.stop_reason = delta.stop_reason or self.stop_reason
                self._details = delta.stop_details or self._details
            case "message_stop":
                self.is_over = True
        return None

    def last(self) -> LMDelta:
        """The last piece, with all tool calls. Raises ContentFiltered."""
        if self.stop_reason == "refusal":
            raise refused(self._details)
        own = [call for _, call in sorted(self._calls.items()) if call.block.name != REPLY_TOOL]
        calls = _distinct([(call.block.id or "", call.block.name or "", call.arguments) for call in own])
        usage = self._usage.to_usage() if self._usage else None
        return LMDelta("", calls, finish_reason(self.stop_reason, calls) or "stop", usage)

    def _begin(self, index: int, block: WireBlock) -> LMDelta | None:
        if block.type == "tool_use":
            self._calls[index] = OpenCall(block)
            return None if block.name == REPLY_TOOL else _piece(index, "", block)
        return self._shown(block.text or "", block.thinking or "")

    def _take(self, index: int, delta: WireDelta) -> LMDelta | None:
        if delta.partial_json is None:
            return self._shown(delta.text or "", delta.thinking or "")
        call = self._calls.get(index)
        if call is None:
            raise ProtocolError("A piece of a tool's arguments belongs to no call.", code="retry_once")
        call.pieces.append(delta.partial_json)
        self._grow(len(delta.partial_json))
        if call.block.name == REPLY_TOOL:
            return self._shown(delta.partial_json, "")
        return _piece(index, delta.partial_json) if delta.partial_json else None

    def _shown(self, text: str, thought: str) -> LMDelta | None:
        self._grow(len(text) + len(thought))
        if not text and not thought:
            return None
        self._texts.append(text)
        return LMDelta(text, reasoning=thought or None)

    def _grow(self, characters: int) -> None:
        self._size += characters
        if self._size > MAX_STREAM_TEXT:
            raise ProtocolError(f"The stream has more than {MAX_STREAM_TEXT} characters.", retryable=False)

    def _count(self, usage: WireUsage | None) -> None:
        """Later counts are of the whole reply so far, and leave out what has not changed."""
        if usage is None:
            return
        before = msgspec.structs.asdict(self._usage) if self._usage else {}
        now = {name: value for name, value in msgspec.structs.asdict(usage).items() if value is not None}
        self._usage = WireUsage(**{**before, **now})
