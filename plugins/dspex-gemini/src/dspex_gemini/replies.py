"""Replies of generateContent, whole and in pieces, in our form; plain functions and what holds a stream together.

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
    LMResponse,
    ProtocolError,
    Thought,
    ToolCall,
    ToolCallPiece,
    Usage,
    status_error,
)
from dspex_gemini.schemas import REPLY_TOOL
from dspex_gemini.turns import Signatures, made_id

MAX_STREAM_TEXT = 4 << 20

_REASONS = MappingProxyType(
    {"STOP": "stop", "MAX_TOKENS": "length", "FINISH_REASON_UNSPECIFIED": "stop", "FUNCTION_CALL": "tool_calls"}
)
_FILTERED = frozenset(
    {"BLOCKLIST", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_SAFETY", "LANGUAGE", "PROHIBITED_CONTENT",
     "RECITATION", "SAFETY", "SPII"}
)  # fmt: skip
_BROKEN = frozenset({"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL"})


class Wire(msgspec.Struct, rename="camel"):
    """The API's names are in camel case."""


class WireCall(Wire):
    """A call of a tool; most models give it no id."""

    id: str | None = None
    name: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"{}")


class WirePart(Wire):
    """A part of a reply: a text, which may be a thought, or a call of a tool; either may be signed."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: WireCall | None = None


class WireContent(Wire):
    """What the model says; in a stream, a piece of it."""

    parts: list[WirePart] | None = None


class WireToken(Wire):
    """A token that was chosen, or weighed."""

    token: str = ""
    log_probability: float = 0.0


class WireTop(Wire):
    """What else was weighed in one place."""

    candidates: list[WireToken] | None = None


class WireLogprobs(Wire):
    """Log-probabilities of a reply's tokens."""

    chosen_candidates: list[WireToken] | None = None
    top_candidates: list[WireTop] | None = None


class WireCandidate(Wire):
    """One completion, or a piece of it."""

    index: int | None = None
    content: WireContent | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    logprobs_result: WireLogprobs | None = None


class WireFeedback(Wire):
    """Why a prompt was not answered."""

    block_reason: str | None = None
    block_reason_message: str | None = None


class WireUsage(Wire):
    """Tokens; those of thoughts are not among the candidates'. In a stream, so far."""

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None

    def to_usage(self) -> Usage:
        """The same in our form; calls are counted by who makes them."""
        thought = self.thoughts_token_count or 0
        return Usage(
            input_tokens=(self.prompt_token_count or 0) + (self.tool_use_prompt_token_count or 0),
            output_tokens=(self.candidates_token_count or 0) + thought,
            cached_tokens=self.cached_content_token_count or 0,
            reasoning_tokens=thought,
        )


class WireReply(Wire):
    """A whole reply, or one piece of a stream."""

    candidates: list[WireCandidate] | None = None
    prompt_feedback: WireFeedback | None = None
    usage_metadata: WireUsage | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: Any = None


def to_response(reply: WireReply, n: int, endpoint: Endpoint) -> LMResponse:
    """The reply in our form, with at most `n` choices in the order of their index.

    Raises ContentFiltered where prompt or reply was blocked, ProtocolError where there is no choice or nothing in one, and
    what an `error` object in its place means.
    """
    check(reply, endpoint)
    given = sorted(reply.candidates or (), key=lambda candidate: candidate.index or 0)[:n]
    if not given:
        raise ProtocolError("The reply has no candidates.", code="retry_once")
    kept = [candidate for candidate in given if candidate.finish_reason not in _FILTERED]
    if not kept:
        raise filtered(given[0].finish_reason or "", given[0].finish_message)
    if len(kept) < n:
        warnings.warn(f"{endpoint.model} gave {len(kept)} of {n} choices asked for.", RuntimeWarning, stacklevel=2)
    usage = reply.usage_metadata.to_usage() if reply.usage_metadata else None
    choices = tuple(to_choice(candidate, endpoint) for candidate in kept)
    return LMResponse(choices, usage, reply.model_version or "", reply.response_id or "")


def check(reply: WireReply, endpoint: Endpoint) -> None:
    """Raises what an `error` object means, and ContentFiltered for a prompt that was blocked."""
    if reply.error is not None:
        raise status_error(endpoint, 200, {}, msgspec.json.encode({"error": reply.error}))
    feedback = reply.prompt_feedback
    if feedback is not None and feedback.block_reason and not reply.candidates:
        raise filtered(feedback.block_reason, feedback.block_reason_message)


def to_choice(candidate: WireCandidate, endpoint: Endpoint) -> Choice:
    """One completion in our form. Raises ProtocolError."""
    reason = candidate.finish_reason
    broken(reason, candidate.finish_message)
    parts = (candidate.content or WireContent()).parts
    # A model that thinks first may reach its limit before its first word: that is an answer, and a short one.
    if not parts and reason != "MAX_TOKENS":
        raise ProtocolError("The reply has neither text nor a tool call.", code="retry_once")
    text, thought = _texts(parts or ())
    found = _calls(parts or ())
    calls = distinct(found)
    thoughts = _thoughts(found, _said(parts or ()), endpoint) if calls else ()
    logprobs = _logprobs(candidate.logprobs_result)
    return Choice(text, calls, finish_reason(reason, calls), logprobs, thought or None, thoughts)


def maker_of(endpoint: Endpoint) -> str:
    """Whose thoughts a model takes back."""
    return f"{endpoint.provider}/{endpoint.model}"


def _thoughts(calls: Iterable[WirePart], said: str | None, endpoint: Endpoint) -> tuple[Thought, ...]:
    signatures = tuple(part.thought_signature for part in calls)
    if said is None and not any(signatures):
        return ()
    return (Thought(msgspec.json.encode(Signatures(signatures, said)).decode(), maker_of(endpoint)),)


def _said(parts: Iterable[WirePart]) -> str | None:
    """The signature of what is said, or thought, beside the calls."""
    for part in parts:
        if part.thought_signature and not part.function_call:
            return part.thought_signature
    return None


def finish_reason(given: str | None, calls: tuple[ToolCall, ...]) -> str | None:
    """Why a reply ended, in OpenAI's words where it has one; a reply that calls tools ends by STOP."""
    reason = _REASONS.get(given or "", given and given.lower())
    if calls:
        return "tool_calls" if reason == "stop" else reason
    return "stop" if reason == "tool_calls" else reason  # our own function only


def filtered(reason: str, said: str | None) -> ContentFiltered:
    """The error for a prompt, or a reply, that Google's filters stopped."""
    detail = f": {said[:500]}" if said else "."
    return ContentFiltered(f"Google's filters stopped it ({reason}){detail}", code=reason.lower())


def broken(reason: str | None, said: str | None) -> None:
    """Raises ProtocolError for a reply that the API itself could not read."""
    if reason in _BROKEN:
        raise ProtocolError(f"The model's call of a tool is broken ({reason}): {(said or '')[:200]}", code="retry_once")


def distinct(parts: Iterable[WirePart]) -> tuple[ToolCall, ...]:
    """The calls in our form, each with an id of its own."""
    made: dict[str, ToolCall] = {}
    for place, part in enumerate(parts):
        call = part.function_call or WireCall()
        call_id = call.id if call.id and call.id not in made else made_id(place)
        made[call_id] = ToolCall(call_id, call.name or "", _arguments(call))
    return tuple(made.values())


def _arguments(call: WireCall) -> str:
    arguments = bytes(call.args).decode("utf-8", "replace")
    return "{}" if arguments == "null" else arguments


def _texts(parts: Iterable[WirePart]) -> tuple[str, str]:
    """What is said, by our own function too, and what is thought."""
    said: list[str] = []
    thought: list[str] = []
    for part in parts:
        call = part.function_call
        own = bytes(call.args).decode("utf-8", "replace") if call and call.name == REPLY_TOOL else ""
        (thought if part.thought else said).append(own or part.text or "")
    return "".join(said), "".join(thought)


def _calls(parts: Iterable[WirePart]) -> list[WirePart]:
    """The calls of the user's tools."""
    return [part for part in parts if part.function_call and part.function_call.name != REPLY_TOOL]


def _logprobs(given: WireLogprobs | None) -> Any:
    """Log-probabilities in OpenAI's chat form."""
    if given is None or not given.chosen_candidates:
        return None
    tops = given.top_candidates or []
    return {
        "content": [
            _row(token) | {"top_logprobs": [*map(_row, (tops[place].candidates or ()) if place < len(tops) else ())]}
            for place, token in enumerate(given.chosen_candidates)
        ]
    }


def _row(token: WireToken) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.log_probability, "bytes": list(token.token.encode())}


class StreamedReply:
    """One streamed reply: what has come so far, and how it ended."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.finish_reason: str | None = None
        self._endpoint = endpoint
        self._message: str | None = None
        self._texts: list[str] = []
        self._calls: list[WirePart] = []
        self._said: str | None = None
        self._usage: WireUsage | None = None
        self._has_all_usage = False
        self._size = 0

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    @property
    def has_begun(self) -> bool:
        """Whether a reader has seen anything of it."""
        return bool(self._texts)

    @property
    def is_over(self) -> bool:
        """Whether it has said why it ended, and what it took in all."""
        return self.finish_reason is not None and self._has_all_usage

    def add(self, reply: WireReply) -> LMDelta | None:
        """Take a piece; what a reader wants to see of it, if anything. Raises ProtocolError when it passes 4 MiB."""
        delta = self._take(reply)
        if reply.usage_metadata is not None:
            self._usage, self._has_all_usage = reply.usage_metadata, self.finish_reason is not None
        return delta

    def _take(self, reply: WireReply) -> LMDelta | None:
        candidate = next((one for one in reply.candidates or () if not one.index), None)
        if candidate is None:
            return None
        self.finish_reason = candidate.finish_reason or self.finish_reason
        self._message = candidate.finish_message or self._message
        parts = (candidate.content or WireContent()).parts or ()
        told = []
        for part in _calls(parts):
            call = part.function_call or WireCall()
            told.append(ToolCallPiece(len(self._calls), call.id or "", call.name or "", _arguments(call)))
            self._calls.append(part)
            self._grow(len(call.args) + len(part.thought_signature or ""))
        self._said = self._said or _said(parts)
        text, thought = _texts(parts)
        self._grow(len(text) + len(thought))
        if not text and not thought and not told:
            return None
        self._texts.append(text)
        return LMDelta(text, reasoning=thought or None, tool_call_pieces=tuple(told))

    def last(self) -> LMDelta:
        """The last piece, with all tool calls. Raises ContentFiltered and ProtocolError."""
        if self.finish_reason in _FILTERED:
            raise filtered(self.finish_reason or "", self._message)
        broken(self.finish_reason, self._message)
        calls = distinct(self._calls)
        usage = self._usage.to_usage() if self._usage else None
        thoughts = _thoughts(self._calls, self._said, self._endpoint) if calls else ()
        return LMDelta("", calls, finish_reason(self.finish_reason, calls) or "stop", usage, thoughts=thoughts)

    def _grow(self, characters: int) -> None:
        self._size += characters
        if self._size > MAX_STREAM_TEXT:
            raise ProtocolError(f"The stream has more than {MAX_STREAM_TEXT} characters.", retryable=False)
