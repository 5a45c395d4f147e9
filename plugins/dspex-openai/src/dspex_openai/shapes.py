"""What some services want otherwise in the body of a request; plain functions, which change it in place."""

import re
from hashlib import blake2b
from typing import Any

Body = dict[str, Any]

_MISTRALS_ID = r"[a-zA-Z0-9]{9}"


def to_mistrals(body: Body) -> None:
    """Mistral takes ids of calls that have nine letters or digits, and refuses any other: as another provider's, or ours.

    Sound and documents have forms of its own.
    """
    for turn in body["messages"]:
        if isinstance(turn.get("content"), list):
            turn["content"] = [_part(part) for part in turn["content"]]
        if "tool_call_id" in turn:
            turn["tool_call_id"] = _short(turn["tool_call_id"])
        for call in turn.get("tool_calls") or ():
            call["id"] = _short(call["id"])


def with_thoughts(body: Body) -> None:
    """DeepSeek, where it thinks, refuses a turn of the model's without its thoughts once tools were called; empty ones will do."""
    turns = body["messages"]
    if any("tool_calls" in turn for turn in turns):
        for turn in turns:
            if turn["role"] == "assistant":
                turn.setdefault("reasoning_content", "")


def with_strict_routing(body: Body) -> None:
    """OpenRouter may go by a service that passes over a schema in silence, where it is not told to look for another."""
    if "response_format" in body:
        body["provider"] = {"require_parameters": True, **body.get("provider", {})}


def _part(part: Body) -> Body:
    match part:
        case {"type": "input_audio", "input_audio": {"data": data}}:
            return {"type": "input_audio", "input_audio": data}
        case {"type": "file", "file": {"file_data": data, **more}}:
            named = {"document_name": more["filename"]} if "filename" in more else {}
            return {"type": "document_url", "document_url": data, **named}
        case {"type": "file", "file": {"file_id": known}}:
            return {"type": "file", "file_id": known}
    return part


def _short(given: str) -> str:
    if re.fullmatch(_MISTRALS_ID, given):
        return given
    return blake2b(given.encode(errors="surrogatepass"), digest_size=5).hexdigest()[:9]
