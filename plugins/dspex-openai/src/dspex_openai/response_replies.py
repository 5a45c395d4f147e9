"""Replies of OpenAI's Responses API, whole and in pieces, in our form; plain functions and what holds a stream together.

Only what is read is declared: a fault in any other field of a reply is not looked at.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from dspex.plugin import Choice, Endpoint, LMDelta, LMResponse, ProtocolError, Thought, ToolCall, ToolCallPiece, Usage
from dspex_openai.replies import MAX_STREAM_TEXT, WireDetails, error_of, filtered, maker_of
from dspex_openai.response_wire import Sealed


class WireContent(msgspec.Struct):
    """A part of what is said (output_text, refusal), or of what is thought."""

    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    logprobs: list[dict[str, Any]] | None = None


class WireItem(msgspec.Struct):
    """An item of a reply: a message, a call of a function, or reasoning."""

    type: str | None = None
    content: list[WireContent] | None = None
    summary: list[WireContent] | None = None
    encrypted_content: str | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class WireTokens(msgspec.Struct):
    """Tokens of a whole reply."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: WireDetails | None = None
    output_tokens_details: WireDetails | None = None

    def to_usage(self) -> Usage:
        """The same in our form; calls are counted by who makes them."""
        read, written = self.input_tokens_details or WireDetails(), self.output_tokens_details or WireDetails()
        return Usage(
            input_tokens=self.input_tokens or 0,
            output_tokens=self.output_tokens or 0,
            cached_tokens=read.cached_tokens or 0,
            reasoning_tokens=written.reasoning_tokens or 0,
        )


class WireWhy(msgspec.Struct):
    """Why a reply is incomplete."""

    reason: str | None = None


class WireResponse(msgspec.Struct):
    """A whole reply."""

    id: str | None = None
    model: str | None = None
    status: str | None = None
    output: list[WireItem] | None = None
    incomplete_details: WireWhy | None = None
    usage: WireTokens | None = None
    error: Any = None


class WireEvent(msgspec.Struct):
    """One event of a stream; an `error` has its code and message beside its type."""

    type: str | None = None
    delta: str | None = None
    output_index: int | None = None
    item: WireItem | None = None
    response: WireResponse | None = None
    code: str | None = None
    message: str | None = None
    error: Any = None


def to_response(reply: WireResponse, endpoint: Endpoint) -> LMResponse:
    """The reply in our form.

    Raises ProtocolError where there is nothing in it, ContentFiltered for a refusal or where a policy cut it, and what an
    `error` object means.
    """
    if reply.error is not None:
        raise error_of(reply.error, endpoint)
    items = reply.output
    if items is None:
        raise ProtocolError("The reply has no output.", code="retry_once")
    reason = _reason(reply)
    said = [content for item in items if item.type == "message" for content in item.content or ()]
    refusal = "".join(content.refusal or "" for content in said)
    if refusal or reason == "content_filter":
        raise filtered(refusal or None)
    calls = distinct(item for item in items if item.type == "function_call")
    if not said and not calls and reason != "length":
        raise ProtocolError("The reply has neither text nor a call of a function.", code="retry_once")
    text, rows = "".join(content.text or "" for content in said), [row for one in said for row in one.logprobs or ()]
    choice = Choice(
        text,
        calls,
        "tool_calls" if calls and reason == "stop" else reason,
        {"content": rows} if rows else None,
        _thought(items) or None,
        _thoughts(items, endpoint) if calls else (),
    )
    usage = reply.usage.to_usage() if reply.usage else None
    return LMResponse((choice,), usage, reply.model or "", reply.id or "")


def distinct(items: Iterable[WireItem]) -> tuple[ToolCall, ...]:
    """Calls of functions in our form, each with an id of its own."""
    made: dict[str, ToolCall] = {}
    for place, item in enumerate(items):
        given = item.call_id or item.id
        call_id = given if given and given not in made else f"{given or 'call'}_{place}"
        made[call_id] = ToolCall(call_id, item.name or "", item.arguments or "{}")
    return tuple(made.values())


def _reason(reply: WireResponse) -> str:
    """Why it ended, in the words of chat completions. Raises ProtocolError for a reply that has not."""
    why = (reply.incomplete_details or WireWhy()).reason
    if reply.status == "incomplete":
        return {"max_output_tokens": "length", "max_tokens": "length"}.get(why or "", why or "length")
    if reply.status in ("failed", "cancelled", "in_progress", "queued"):
        raise ProtocolError(f"The reply is not complete, but {reply.status}.", code="retry_once")
    return "stop"


def _thought(items: Iterable[WireItem]) -> str:
    """What it thought: as it is, where a server shows that, else in summary."""
    reasoning = [item for item in items if item.type == "reasoning"]
    return "\n\n".join(content.text or "" for item in reasoning for content in item.content or item.summary or ())


def _thoughts(items: Iterable[WireItem], endpoint: Endpoint) -> tuple[Thought, ...]:
    """What it thought, as the API sealed it."""
    made: list[Thought] = []
    called = 0
    for item in items:
        called += item.type == "function_call"
        if item.type == "reasoning" and item.encrypted_content:
            sealed = Sealed(called, _as_sent(item))
            made.append(Thought(msgspec.json.encode(sealed).decode(), maker_of(endpoint)))
    return tuple(made)


def _as_sent(item: WireItem) -> dict[str, Any]:
    named = {} if item.id is None else {"id": item.id}
    summary = [{"type": "summary_text", "text": one.text or ""} for one in item.summary or ()]
    return {"type": "reasoning", **named, "summary": summary, "encrypted_content": item.encrypted_content}


def _place(event: WireEvent) -> int:
    return event.output_index or 0


class StreamedResponse:
    """One streamed reply: what has come so far, and how it ended."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.is_over = False
        self.has_begun = False  # whether a reader has seen text or a call of it
        self._endpoint = endpoint
        self._texts: list[str] = []
        self._items: list[WireItem] = []
        self._response: WireResponse | None = None
        self._is_thinking_anew = False
        self._has_thought = False
        self._size = 0

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    def add(self, event: WireEvent) -> LMDelta | None:
        """Take an event; what a reader wants to see of it, if anything. Unknown events say nothing.

        Raises ProtocolError when the reply passes 4 MiB, and what an error means.
        """
        match event.type:
            case "response.output_text.delta":
                return self._said(event.delta or "")
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                return self._thought(event.delta or "")
            case "response.reasoning_text.done" | "response.reasoning_summary_text.done":
                self._is_thinking_anew = self._has_thought
            case "response.output_item.added" if event.item is not None and event.item.type == "function_call":
                return self._called(ToolCallPiece(_place(event), event.item.call_id or "", event.item.name or ""))
            case "response.function_call_arguments.delta" if event.delta:
                return self._called(ToolCallPiece(_place(event), arguments=event.delta))
            case "response.output_item.done" if event.item is not None:
                self._items.append(event.item)
            case "response.completed" | "response.incomplete" | "response.failed":
                self._response, self.is_over = event.response or WireResponse(), True
            case "error":
                raise error_of(event.error or {"code": event.code, "message": event.message}, self._endpoint)
            case None if event.error is not None:
                raise error_of(event.error, self._endpoint)
        return None

    def last(self) -> LMDelta:
        """The last piece, with all tool calls. Raises as `to_response`, and ProtocolError for a stream without an end."""
        if self._response is None:
            raise ProtocolError("The stream ended before its last piece.")
        if not self._response.output and self._response.error is None:
            self._response.output = self._items
        reply = to_response(self._response, self._endpoint)
        choice = reply.choices[0]
        rest = "" if self._texts else choice.text  # a server may have sent it at the end only
        reason = choice.finish_reason or "stop"
        return LMDelta(rest, choice.tool_calls, reason, reply.usage, thoughts=choice.thoughts)

    def _called(self, piece: ToolCallPiece) -> LMDelta:
        self._grow(len(piece.arguments))
        self.has_begun = True
        return LMDelta(tool_call_pieces=(piece,))

    def _said(self, text: str) -> LMDelta | None:
        self._grow(len(text))
        if not text:
            return None
        self._texts.append(text)
        self.has_begun = True
        return LMDelta(text)

    def _thought(self, text: str) -> LMDelta | None:
        self._grow(len(text))
        if not text:
            return None
        begun = "\n\n" if self._is_thinking_anew else ""
        self._has_thought, self._is_thinking_anew = True, False
        return LMDelta("", reasoning=begun + text)

    def _grow(self, characters: int) -> None:
        self._size += characters
        if self._size > MAX_STREAM_TEXT:
            raise ProtocolError(f"The stream has more than {MAX_STREAM_TEXT} characters.", retryable=False)
