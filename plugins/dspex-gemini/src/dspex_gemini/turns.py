"""Messages in the form of the Gemini API: the system's texts apart, turns of parts that alternate; plain functions."""

import mimetypes
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from dspex.plugin import (
    Audio,
    BadRequest,
    File,
    Image,
    Message,
    Part,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    call_arguments,
    data_url,
    decode_json,
)

Block = dict[str, Any]

# What Google's documentation has for a call whose signature is not at hand, as one of another model's.
UNSIGNED = "skip_thought_signature_validator"
_OWN_ID = r"call_\d+"


class Signatures(msgspec.Struct, frozen=True):
    """What a reply was signed with: its calls in their order, and what it says beside them."""

    calls: tuple[str | None, ...] = ()
    said: str | None = None


def to_contents(messages: Iterable[Message], maker: str, *, signs_calls: bool) -> tuple[list[Block], list[Block]]:
    """The parts of the system's instruction, and the turns; turns of one side that follow each other are one.

    Only thoughts of `maker` sign them. Raises BadRequest where no turn is left, and for parts that the API has no form for.
    """
    system: list[Block] = []
    turns: list[Block] = []
    names: dict[str, str] = {}
    for message in messages:
        parts = [*_parts(message.parts, names)]
        if message.role == "system":
            system += parts
            continue
        role = "model" if message.role == "assistant" else "user"
        if role == "model":
            _sign(parts, message.parts, maker, signs_calls=signs_calls)
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += parts
        elif parts:
            turns.append({"role": role, "parts": parts})
    if not turns:
        raise BadRequest("A request to the Gemini API needs a user's turn beside the system's, with something in it.")
    return system, turns


def made_id(place: int) -> str:
    """An id for a call that came without one; it is not sent back."""
    return f"call_{place}"


def _sign(parts: list[Block], given: Iterable[Part], maker: str, *, signs_calls: bool) -> None:
    """Each signature goes where it came; what must have one is the first call of a turn."""
    calls = [part for part in parts if "functionCall" in part]
    for thought in given:
        if isinstance(thought, Thought) and thought.maker == maker:
            signatures = decode_json(thought.data, Signatures)
            for call, signature in zip(calls, signatures.calls, strict=False):
                call.update({"thoughtSignature": signature} if signature else {})
            if signatures.said is not None:
                if not parts or "text" not in parts[0]:
                    parts.insert(0, {"text": ""})  # streams have it so
                parts[0]["thoughtSignature"] = signatures.said
    if calls and signs_calls:
        calls[0].setdefault("thoughtSignature", UNSIGNED)


def _parts(parts: Iterable[Part], names: dict[str, str]) -> Iterator[Block]:
    """The parts of a message; `names` keeps the tools' names by the ids of their calls."""
    for part in parts:
        match part:
            case Text(text=text):
                if text:
                    yield {"text": text}
            case Image(url=url):
                yield _media(url, "image/*")
            case Audio(data=data, format=form):
                yield {"inlineData": {"mimeType": f"audio/{form}", "data": data}}
            case File():
                yield _file(part)
            case ToolCall(id=call_id, name=name):
                names[call_id] = name
                yield {"functionCall": {"name": name, "args": call_arguments(part), **_shown(call_id)}}
            case ToolResult():
                yield _result(part, names)


def _media(url: str, unknown: str) -> Block:
    """What is in a data URL, or stands behind an address."""
    found = data_url(url)
    if found is None:
        kind = mimetypes.guess_type(url.partition("?")[0])[0]
        return {"fileData": {"fileUri": url, **({"mimeType": kind} if kind else {})}}
    return {"inlineData": {"mimeType": found.kind or unknown, "data": found.data}}


def _file(file: File) -> Block:
    if file.file_id is not None:
        return {"fileData": {"fileUri": file.file_id}}
    if file.data is None:
        raise BadRequest("A file has neither data nor an id.")
    return _media(file.data, "application/octet-stream")


def _result(result: ToolResult, names: dict[str, str]) -> Block:
    if result.id not in names:
        raise BadRequest(
            f"The result of the call {result.id!r} has no such call before it, whose tool's name it needs."
        )
    said = {"error" if result.is_error else "output": result.text}
    return {"functionResponse": {"name": names[result.id], "response": said, **_shown(result.id)}}


def _shown(call_id: str) -> Block:
    return {} if not call_id or re.fullmatch(_OWN_ID, call_id) else {"id": call_id}
