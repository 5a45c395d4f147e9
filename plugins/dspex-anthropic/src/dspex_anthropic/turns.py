"""Messages in the form of the messages API: system texts apart, turns of blocks that alternate; plain functions."""

from collections.abc import Iterable, Iterator
from typing import Any

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

THOUGHTS = ("thinking", "redacted_thinking")


def to_turns(messages: Iterable[Message], maker: str) -> tuple[list[Block], list[dict[str, Any]]]:
    """The blocks of the system prompt, and the turns; turns of one side that follow each other are one.

    Only thoughts of `maker` are among the blocks. Raises BadRequest where no turn is left, and for parts that the API has no form for.
    """
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    for message in messages:
        blocks = [*_blocks(message.parts, maker)]
        if message.role == "system":
            system += blocks
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] = _results_first([*turns[-1]["content"], *blocks])
        elif blocks:
            turns.append({"role": role, "content": _results_first(blocks)})
    if not turns:
        raise BadRequest("A request to the messages API needs a user's turn beside the system's, with something in it.")
    return system, turns


def cached(blocks: list[Block], lasting: str) -> None:
    """Mark the end of what prompts have in common, so that Anthropic keeps all up to it."""
    if blocks:
        blocks[-1] |= {"cache_control": {"type": "ephemeral", **({"ttl": lasting} if lasting != "5m" else {})}}


def _results_first(blocks: list[Block]) -> list[Block]:
    """The API wants the results of tools at the head of their turn."""
    return sorted(blocks, key=lambda block: block["type"] != "tool_result")


def without_thoughts(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The turns as a model that does not think first takes them."""
    kept = [{**turn, "content": [one for one in turn["content"] if one["type"] not in THOUGHTS]} for turn in turns]
    return [turn for turn in kept if turn["content"]]


def _blocks(parts: Iterable[Part], maker: str) -> Iterator[Block]:
    """The blocks of a message; the API refuses empty texts, which say nothing."""
    has_said = False
    for part in parts:
        match part:
            case Thought(data=data):
                if part.maker == maker:
                    blocks = decode_json(data, list[Block])
                    has_said = any(block["type"] == "text" for block in blocks)
                    yield from blocks
            case Text(text=text):
                if text and not has_said:
                    yield {"type": "text", "text": text}
            case Image(url=url):
                yield {"type": "image", "source": _source(url)}
            case File():
                yield _document(part)
            case Audio():
                raise BadRequest("The messages API takes no sound (capability: audio).")
            case ToolCall(id=call_id, name=name):
                yield {"type": "tool_use", "id": call_id, "name": name, "input": call_arguments(part)}
            case ToolResult(id=call_id, text=text):
                result: Block = {"type": "tool_result", "tool_use_id": call_id, "content": text}
                yield result | ({"is_error": True} if part.is_error else {})


def _source(url: str) -> Block:
    """Where a picture or document is: in the URL itself, or behind it."""
    found = data_url(url)
    if found is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": found.kind, "data": found.data}


def _document(file: File) -> Block:
    if file.file_id is not None:
        source: Block = {"type": "file", "file_id": file.file_id}
    elif file.data is None:
        raise BadRequest("A file has neither data nor an id.")
    else:
        source = _source(file.data)
    if source.get("media_type", "application/pdf") != "application/pdf":
        raise BadRequest(f"Of files the API reads PDFs, not {source['media_type']!r} (capability: files).")
    return {"type": "document", "source": source, **({"title": file.filename} if file.filename else {})}
