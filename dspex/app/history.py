"""The last calls of an LM and of an App: kept bounded, shown readable."""

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

from dspex.app.app import current_app
from dspex.app.openai_form import completions
from dspex.core.dictionaries import to_dictionaries
from dspex.core.messages import (
    Audio,
    Choice,
    File,
    Image,
    LMRequest,
    LMResponse,
    Message,
    Part,
    Text,
    Thought,
    ToolCall,
)

SHOWN_URL = 80


class HistoryEntry(msgspec.Struct, frozen=True, gc=False):
    """One call, kept as it was sent and answered; `error` says why a response has no choices, or is not whole."""

    model: str
    request: LMRequest
    response: LMResponse
    timestamp: float
    error: str | None = None
    model_type: str = "chat"

    @property
    def size(self) -> int:
        """Characters of its texts, and of files and pictures in their place."""
        size = 0  # in loops, as it is taken at each call: a fifth of what sums and maps take
        for message in self.request.messages:
            for part in message.parts:
                size += len(part.text) if type(part) is Text else _size(part)
        for choice in self.response.choices:
            size += len(choice.text) + len(choice.reasoning or "")
            if choice.thoughts:
                size += sum(map(_size, choice.thoughts))
        return size

    def to_dict(self) -> dict[str, Any]:
        """The entry under DSPy's keys."""
        import uuid

        usage = self.response.usage
        return {
            "prompt": None,
            "messages": [turn for message in self.request.messages for turn in to_dictionaries(message)],
            "kwargs": dict(self.request.params),
            "response": self.response,
            "outputs": completions(self.response),
            "usage": usage.to_dict() if usage else {},
            "cost": usage.usd if usage else None,
            "timestamp": datetime.fromtimestamp(self.timestamp).isoformat(),  # noqa: DTZ006  local time, as DSPy's
            "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.timestamp}/{id(self.response)}")),
            "model": self.model,
            "response_model": self.response.model or self.model,
            "model_type": self.model_type,
            "error": self.error,
        }


History = deque[HistoryEntry]


def keep(entry: HistoryEntry, histories: Iterable[History], limit: int, limit_size: int) -> None:
    """Append to each history; its oldest entries beyond `limit`, or beyond twice `limit_size` characters, go."""
    # Only an entry of more than its share can bring the sum of all beyond the limit.
    is_large = entry.size * limit > limit_size
    for history in histories:
        history.append(entry)
        try:  # `suppress` costs more than all else here, and this is done at each call
            while len(history) > limit:
                history.popleft()
        except IndexError:  # another thread was faster
            pass
        if is_large:
            _shorten(history, limit_size)


def _shorten(history: History, limit_size: int) -> None:
    excess = sum(one.size for one in tuple(history)) - limit_size
    with suppress(IndexError):  # as above
        while excess > 0:
            excess -= history.popleft().size


def inspect_history(n: int = 1, file: TextIO | None = None) -> None:
    """Print the last `n` calls of all LMs of the current App, oldest first, to `file` or standard output.

    Shown are roles, parts and completions; never parameters, headers or keys.
    """
    show(current_app().history, n, file)


def show(history: History, n: int, file: TextIO | None) -> None:
    """Print the last `n` entries of a history."""
    chosen = list(history)[-n:] if n > 0 else []
    text = "\n\n\n".join("\n\n".join(_blocks(entry)) for entry in chosen) or "No calls yet."
    (file or sys.stdout).write(current_app().redact(text) + "\n")


def _blocks(entry: HistoryEntry) -> Iterator[str]:
    usage = entry.response.usage
    tokens = f", {usage.input_tokens} tokens in, {usage.output_tokens} out" if usage else ""
    yield f"[{datetime.fromtimestamp(entry.timestamp, UTC):%Y-%m-%d %H:%M:%S} UTC] {entry.model}{tokens}"
    for message in entry.request.messages:
        yield f"{message.role.capitalize()}:\n{_message(message)}"
    if entry.error is not None:
        yield f"Error:\n{entry.error}"
    choices = entry.response.choices
    for number, choice in enumerate(choices, 1):
        yield f"Response{f' {number} of {len(choices)}' if len(choices) > 1 else ''}:\n{_choice(choice)}"


def _message(message: Message) -> str:
    return "\n".join(map(_part, message.parts))


def _choice(choice: Choice) -> str:
    cut = f"<ended by {choice.finish_reason}>" if choice.finish_reason in ("length", "content_filter") else ""
    thought = f"<reasoning>\n{choice.reasoning}\n</reasoning>" if choice.reasoning else ""
    return "\n".join(piece for piece in [thought, choice.text, *map(_part, choice.tool_calls), cut] if piece)


def _part(part: Part) -> str:
    match part:
        case Text(text):
            return text
        case Image(url):
            return f"<image {_short(url)}>"
        case Audio(data, form):
            return f"<audio {form}, {len(data)} characters of base64>"
        case File(data, file_id, filename):
            return f"<file {filename or file_id or _short(data or '')}>"
        case ToolCall(_, name, arguments):
            return f"<tool call {name}({arguments})>"
        case Thought(data, maker):
            return f"<thought of {maker}, {len(data)} characters>"
    return f"<tool result> {part.text}"


def _size(part: Part) -> int:
    if isinstance(part, Text):
        return len(part.text)
    return sum(len(value) for value in msgspec.structs.astuple(part) if isinstance(value, str))


def _short(url: str) -> str:
    return url if len(url) <= SHOWN_URL else f"{url[:SHOWN_URL]}... ({len(url)} characters)"
