"""Replies of Ollama's chat, whole and in pieces, in our form; plain functions and what holds a stream together.

Only what is read is declared: a fault in any other field of a reply is not looked at.
"""

from typing import Any

import msgspec

from dspex.plugin import (
    Choice,
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

MAX_STREAM_TEXT = 4 << 20


class WireFunction(msgspec.Struct):
    """A tool's name and arguments, which come whole."""

    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class WireCall(msgspec.Struct):
    """A call of a tool; older servers give it no id."""

    id: str | None = None
    function: WireFunction | None = None


class WireMessage(msgspec.Struct):
    """What the model says; in a stream, a piece of it. Servers in its likeness have another name for what it thinks."""

    content: str | None = None
    thinking: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[WireCall] | None = None

    @property
    def thought(self) -> str:
        """The reasoning, empty for none."""
        return self.thinking or self.reasoning_content or ""


class WireReply(msgspec.Struct):
    """A whole reply, or one line of a stream; the last one is `done` and counts the tokens."""

    model: str | None = None
    message: WireMessage | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    logprobs: list[dict[str, Any]] | None = None
    error: Any = None

    def to_usage(self) -> Usage | None:
        """The tokens in our form; calls are counted by who makes them."""
        if self.eval_count is None and self.prompt_eval_count is None:
            return None
        return Usage(input_tokens=self.prompt_eval_count or 0, output_tokens=self.eval_count or 0)


def to_response(reply: WireReply, endpoint: Endpoint) -> LMResponse:
    """The reply in our form. Raises ProtocolError where there is no message, or it is cut short, and what an `error` means."""
    check(reply, endpoint)
    message = reply.message
    if message is None:
        raise ProtocolError("The reply has no message.", code="retry_once")
    if message.content is None and not message.tool_calls:
        raise ProtocolError("The reply has neither text nor a tool call.", code="retry_once")
    if not reply.done:
        raise ProtocolError("The reply is not done.", code="retry_once")
    calls = distinct(message.tool_calls or [])
    logprobs = {"content": [*map(_row, reply.logprobs)]} if reply.logprobs else None
    choice = Choice(
        message.content or "", calls, finish_reason(reply.done_reason, calls), logprobs, message.thought or None
    )
    return LMResponse((choice,), reply.to_usage(), reply.model or "")


def check(reply: WireReply, endpoint: Endpoint) -> None:
    """Raises what an `error` means that comes where an answer was expected: a text of Ollama's says that it failed."""
    if reply.error is not None:
        status = 500 if isinstance(reply.error, str) else 200
        error: LMError = status_error(endpoint, status, {}, msgspec.json.encode({"error": reply.error}))
        raise error


def finish_reason(given: str | None, calls: tuple[ToolCall, ...]) -> str:
    """Why a reply ended, in OpenAI's words; one that calls tools ends by `stop`."""
    return "tool_calls" if calls and given in (None, "stop") else given or "stop"


def distinct(calls: list[WireCall]) -> tuple[ToolCall, ...]:
    """The calls in our form, each with an id of its own."""
    made: dict[str, ToolCall] = {}
    for place, call in enumerate(calls):
        function = call.function or WireFunction()
        call_id = call.id if call.id and call.id not in made else f"{call.id or 'call'}_{place}"
        made[call_id] = ToolCall(call_id, function.name or "", _text(function.arguments))
    return tuple(made.values())


def _text(arguments: msgspec.Raw) -> str:
    """Arguments as JSON text; some servers send them as a text already."""
    text = bytes(arguments).decode("utf-8", "replace")
    if text.startswith('"'):
        return str(msgspec.json.decode(text)) or "{}"
    return "{}" if text == "null" else text


def _row(given: dict[str, Any]) -> dict[str, Any]:
    """A token's log-probability in OpenAI's form, in which `bytes` and `top_logprobs` are never absent."""
    tops = [{"bytes": None, **top} for top in given.get("top_logprobs") or ()]
    return {"bytes": None, **given, "top_logprobs": tops}


class StreamedReply:
    """One streamed reply: what has come so far, and how it ended."""

    def __init__(self) -> None:
        self.is_over = False
        self._last = WireReply()
        self._texts: list[str] = []
        self._calls: list[WireCall] = []
        self._size = 0

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    @property
    def has_begun(self) -> bool:
        """Whether a reader has seen anything of it."""
        return bool(self._texts)

    def add(self, reply: WireReply) -> LMDelta | None:
        """Take a line; what a reader wants to see of it, if anything. Raises ProtocolError when the reply passes 4 MiB."""
        if reply.done:
            self.is_over, self._last = True, reply
        message = reply.message or WireMessage()
        told = []
        for call in message.tool_calls or ():
            function = call.function or WireFunction()
            arguments = _text(function.arguments)
            told.append(ToolCallPiece(len(self._calls), call.id or "", function.name or "", arguments))
            self._calls.append(call)
            self._size += len(function.arguments) if call.function else 0
        text, thought = message.content or "", message.thought
        self._size += len(text) + len(thought)
        if self._size > MAX_STREAM_TEXT:
            raise ProtocolError(f"The stream has more than {MAX_STREAM_TEXT} characters.", retryable=False)
        if not text and not thought and not told:
            return None
        self._texts.append(text)
        return LMDelta(text, reasoning=thought or None, tool_call_pieces=tuple(told))

    def last(self) -> LMDelta:
        """The last piece, with all tool calls."""
        calls = distinct(self._calls)
        return LMDelta("", calls, finish_reason(self._last.done_reason, calls), self._last.to_usage())
