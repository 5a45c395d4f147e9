"""Messages in the form of Ollama's chat; plain functions."""

from collections.abc import Iterable, Iterator
from typing import Any

from dspex.plugin import (
    Audio,
    BadRequest,
    File,
    Image,
    Message,
    Text,
    ToolCall,
    ToolResult,
    call_arguments,
    data_url,
)

Turn = dict[str, Any]


def to_turns(messages: Iterable[Message]) -> list[Turn]:
    """The turns of a chat. Raises BadRequest for parts that Ollama has no form for, naming the capability."""
    names: dict[str, str] = {}
    return [turn for message in messages for turn in _turns(message, names)]


def _turns(message: Message, names: dict[str, str]) -> Iterator[Turn]:
    """A message as turns: each result of a tool is one; `names` keeps the tools' names by the ids of their calls."""
    texts: list[str] = []
    images: list[str] = []
    calls: list[Turn] = []
    results: list[Turn] = []
    for part in message.parts:
        match part:
            case Text(text=text):
                texts.append(text)
            case Image(url=url):
                images.append(_picture(url))
            case ToolCall(id=call_id, name=name):
                names[call_id] = name
                calls.append({"id": call_id, "function": {"name": name, "arguments": call_arguments(part)}})
            case ToolResult():
                results.append(_result(part, names))
            case Audio():
                raise BadRequest("Ollama takes no sound (capability: audio).")
            case File():
                raise BadRequest("Ollama takes no documents (capability: files): send their text.")
    yield from results
    if texts or images or calls or not results:
        turn: Turn = {"role": message.role, "content": "".join(texts)}
        yield turn | ({"images": images} if images else {}) | ({"tool_calls": calls} if calls else {})


def _picture(url: str) -> str:
    found = data_url(url)
    if found is None:
        raise BadRequest(f"Ollama takes pictures as base64 data only (images); this one begins with {url[:40]!r}.")
    return found.data


def _result(result: ToolResult, names: dict[str, str]) -> Turn:
    text = f"Error: {result.text}" if result.is_error else result.text
    name = {"tool_name": names[result.id]} if result.id in names else {}
    return {"role": "tool", "content": text, "tool_call_id": result.id, **name}
