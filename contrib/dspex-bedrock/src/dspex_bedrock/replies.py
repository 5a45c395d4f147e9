"""Replies of the Converse API, whole and in pieces, in our form; plain functions and what holds a stream together.

Only what is read is declared: a fault in any other field of a reply is not looked at.
"""

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
    ServerEvent,
    ToolCall,
    ToolCallPiece,
    Usage,
    decode_json,
    status_error,
)
from dspex_bedrock.frames import EXCEPTION
from dspex_bedrock.wire import REPLY_TOOL

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
_FILTERED = frozenset({"content_filtered", "guardrail_intervened", "refusal"})
_BROKEN = frozenset({"malformed_model_output", "malformed_tool_use"})
# What an exception within a stream would be as a status of its own.
_STATUSES = MappingProxyType(
    {
        "internalserverexception": 500,
        "modelstreamerrorexception": 500,
        "modeltimeoutexception": 408,
        "serviceunavailableexception": 503,
        "throttlingexception": 429,
        "validationexception": 400,
    }
)


class Wire(msgspec.Struct, rename="camel"):
    """The API's names are in camel case."""


class WireCall(Wire):
    """A call of a tool; in a stream, its head, or a piece of its input."""

    tool_use_id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")


class WireThoughtText(Wire):
    """What was thought."""

    text: str | None = None


class WireThought(Wire):
    """A thought, whole (`reasoningText`) or a piece of it."""

    reasoning_text: WireThoughtText | None = None
    text: str | None = None


class WireBlock(Wire):
    """A block of a reply, or a piece of one."""

    text: str | None = None
    tool_use: WireCall | None = None
    reasoning_content: WireThought | None = None

    @property
    def thought(self) -> str:
        """What was thought, empty for none."""
        given = self.reasoning_content or WireThought()
        return given.text or (given.reasoning_text or WireThoughtText()).text or ""


class WireMessage(Wire):
    """What the model says."""

    content: list[WireBlock] | None = None


class WireOutput(Wire):
    """Its one member."""

    message: WireMessage | None = None


class WireUsage(Wire):
    """Tokens; those read from a cache, or written to it, are not among the input's."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None

    def to_usage(self) -> Usage:
        """The same in our form; calls are counted by who makes them."""
        read, written = self.cache_read_input_tokens or 0, self.cache_write_input_tokens or 0
        return Usage(
            input_tokens=(self.input_tokens or 0) + written + read,
            output_tokens=self.output_tokens or 0,
            cached_tokens=read,
            written_tokens=written,
        )


class WireReply(Wire):
    """A whole reply."""

    output: WireOutput | None = None
    stop_reason: str | None = None
    usage: WireUsage | None = None
    error: Any = None


class WireEvent(Wire):
    """The payload of any event of a stream."""

    content_block_index: int = 0
    start: WireBlock | None = None
    delta: WireBlock | None = None
    stop_reason: str | None = None
    usage: WireUsage | None = None


def to_response(reply: WireReply, endpoint: Endpoint) -> LMResponse:
    """The reply in our form.

    Raises ProtocolError where there is no content, ContentFiltered where a guardrail or a filter stopped it, and what an
    `error` object in its place means.
    """
    if reply.error is not None:
        raise status_error(endpoint, 200, {}, msgspec.json.encode({"error": reply.error}))
    message = (reply.output or WireOutput()).message
    if message is None or message.content is None:
        raise ProtocolError("The reply has no content.", code="retry_once")
    blocks = message.content
    said = "".join(block.text or "" for block in blocks)
    check_end(reply.stop_reason, said)
    made = [block.tool_use for block in blocks if block.tool_use is not None]
    own = "".join(_raw(call.input) for call in made if call.name == REPLY_TOOL)
    calls = distinct((call, _raw(call.input)) for call in made if call.name != REPLY_TOOL)
    thought = "".join(block.thought for block in blocks)
    choice = Choice(said + own, calls, finish_reason(reply.stop_reason, calls), None, thought or None)
    return LMResponse((choice,), reply.usage.to_usage() if reply.usage else None, endpoint.model)


def check_end(reason: str | None, said: str) -> None:
    """Raises ContentFiltered and ProtocolError for replies that ended badly."""
    if reason in _FILTERED:
        raise ContentFiltered(f"Bedrock stopped the reply ({reason}): {said[:500]}", code=reason)
    if reason in _BROKEN:
        raise ProtocolError(f"The model's reply is broken ({reason}).", code="retry_once")


def finish_reason(stop_reason: str | None, calls: tuple[ToolCall, ...]) -> str | None:
    """Why a reply ended, in OpenAI's words where it has one; a reply by our own tool just stops."""
    reason = _REASONS.get(stop_reason or "", stop_reason)
    return "stop" if reason == "tool_calls" and not calls else reason


def distinct(calls: Iterable[tuple[WireCall, str]]) -> tuple[ToolCall, ...]:
    """Calls and their arguments, each with an id of its own."""
    made: dict[str, ToolCall] = {}
    for place, (call, arguments) in enumerate(calls):
        given = call.tool_use_id
        call_id = given if given and given not in made else f"{given or 'call'}_{place}"
        made[call_id] = ToolCall(call_id, call.name or "", arguments or "{}")
    return tuple(made.values())


def exception_of(event: ServerEvent, endpoint: Endpoint) -> LMError:
    """What an exception within a stream means."""
    kind = event.event.removeprefix(EXCEPTION)
    said = f"{kind}: {event.data}".encode()
    return status_error(endpoint, _STATUSES.get(kind.lower(), 500), {}, said)


def _raw(value: msgspec.Raw) -> str:
    return bytes(value).decode("utf-8", "replace")


class StreamedReply:
    """One streamed reply: what has come so far, and how it ended."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.stop_reason: str | None = None
        self._endpoint = endpoint
        self._usage: WireUsage | None = None
        self._texts: list[str] = []
        self._calls: dict[int, tuple[WireCall, list[str]]] = {}
        self._decoder = msgspec.json.Decoder(WireEvent)
        self._size = 0

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    @property
    def has_begun(self) -> bool:
        """Whether a reader has seen anything of it."""
        return bool(self._texts or self._calls)

    @property
    def is_over(self) -> bool:
        """Whether it has said why it ended, and what it took."""
        return self.stop_reason is not None and self._usage is not None

    def add(self, event: ServerEvent) -> LMDelta | None:
        """Take an event; what a reader wants to see of it, if anything. Unknown events say nothing.

        Raises ProtocolError for a piece that belongs to no call, and when the reply passes 4 MiB, and what an exception
        means.
        """
        if event.event.startswith(EXCEPTION):
            raise exception_of(event, self._endpoint)
        given = decode_json(event.data, self._decoder)
        match event.event:
            case "contentBlockStart" if given.start is not None and given.start.tool_use is not None:
                return self._begin(given.content_block_index, given.start.tool_use)
            case "contentBlockDelta" if given.delta is not None:
                return self._take(given.content_block_index, given.delta)
            case "messageStop":
                self.stop_reason = given.stop_reason or self.stop_reason
            case "metadata":
                self._usage = given.usage or self._usage
        return None

    def last(self) -> LMDelta:
        """The last piece, with all tool calls. Raises ContentFiltered and ProtocolError."""
        check_end(self.stop_reason, self.text)
        own = [call for _, call in sorted(self._calls.items()) if call[0].name != REPLY_TOOL]
        calls = distinct((call, "".join(pieces)) for call, pieces in own)
        usage = self._usage.to_usage() if self._usage else None
        return LMDelta("", calls, finish_reason(self.stop_reason, calls) or "stop", usage)

    def _begin(self, index: int, call: WireCall) -> LMDelta | None:
        self._calls[index] = (call, [])
        if call.name == REPLY_TOOL:
            return None
        return LMDelta(tool_call_pieces=(ToolCallPiece(index, call.tool_use_id or "", call.name or ""),))

    def _take(self, index: int, delta: WireBlock) -> LMDelta | None:
        if delta.tool_use is None:
            return self._shown(delta.text or "", delta.thought)
        found = self._calls.get(index)
        if found is None:
            raise ProtocolError("A piece of a tool's input belongs to no call.", code="retry_once")
        piece = decode_json(bytes(delta.tool_use.input), str)
        found[1].append(piece)
        self._grow(len(piece))
        if found[0].name == REPLY_TOOL:
            return self._shown(piece, "")
        return LMDelta(tool_call_pieces=(ToolCallPiece(index, arguments=piece),)) if piece else None

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
