"""Messages as dictionaries in the form of OpenAI's chat completions, which is DSPy's too; both ways."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from dspex.core.errors import ConfigurationError
from dspex.core.messages import Audio, File, Image, Message, Part, Text, Thought, ToolCall, ToolResult

_ROLES: Mapping[str, str] = MappingProxyType(
    {role: role for role in ("system", "user", "assistant", "tool")} | {"developer": "system"}
)
_PARTS = "text, image_url, input_audio, file"
_BESIDE = (Thought, ToolCall, ToolResult)


def to_message(given: Mapping[str, Any]) -> Message:
    """A message from its dictionary form, tool turns included.

    Raises ConfigurationError that names an unknown role or type of part, or what a part lacks.
    """
    role, content = given.get("role"), given.get("content")
    known = _ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        raise ConfigurationError(f"A message has role {role!r}; it can be: {', '.join(_ROLES)}.")
    if type(content) is str and known != "tool" and "tool_calls" not in given:
        return Message(known, (Text(content),))
    try:
        parts = [Text(content or "")] if isinstance(content, str | None) else [*map(_to_part, content)]
        if known == "tool":
            text = "".join(part.text for part in parts if isinstance(part, Text))
            return Message(known, (ToolResult(given["tool_call_id"], text),))
        calls = [
            ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in given.get("tool_calls") or ()
        ]
        thoughts = [Thought(thought["data"], thought["maker"]) for thought in given.get("thoughts") or ()]
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"A message of role {role!r} is not in OpenAI's form: {error!r}.") from error
    return Message(known, (*thoughts, *(parts if content or not calls else ()), *calls))


def _to_part(part: Mapping[str, Any]) -> Part:
    match part.get("type"):
        case "text":
            return Text(part["text"])
        case "image_url":
            return Image(part["image_url"]["url"], part["image_url"].get("detail"))
        case "input_audio":
            return Audio(part["input_audio"]["data"], part["input_audio"]["format"])
        case "file":
            file = part["file"]
            return File(file.get("file_data"), file.get("file_id"), file.get("filename"))
    raise ConfigurationError(f"A message part of type {part.get('type')!r} is unknown; it can be: {_PARTS}.")


def to_dictionaries(message: Message) -> Iterator[dict[str, Any]]:
    """The dictionary form of a message; content is text where there is nothing else.

    Results of tools are turns of their own in this form, and stand before what else their message says. Thoughts are left out:
    it is the form that many servers are sent.
    """
    role, parts = message.role, message.parts
    if len(parts) == 1 and type(parts[0]) is Text:
        yield {"role": role, "content": parts[0].text}
        return
    results = [part for part in parts if isinstance(part, ToolResult)]
    yield from ({"role": "tool", "tool_call_id": result.id, "content": result.text} for result in results)
    calls = [_from_call(part) for part in parts if isinstance(part, ToolCall)]
    content = _content([part for part in parts if not isinstance(part, _BESIDE)])
    if content or not results:
        yield {"role": role, "content": content, **({"tool_calls": calls} if calls else {})}


def to_turns(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The dictionary forms of messages, in a list as it is sent."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        parts = message.parts
        if len(parts) == 1 and type(part := parts[0]) is Text:  # nearly all, and this is done at each call
            turns.append({"role": message.role, "content": part.text})
        else:
            turns += to_dictionaries(message)
    return turns


def _content(parts: Sequence[Part]) -> str | list[dict[str, Any]] | None:
    texts = [part.text for part in parts if isinstance(part, Text)]
    if len(texts) == len(parts):
        return "".join(texts) if texts else None
    return [_from_part(part) for part in parts]


def _from_part(part: Part) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image():
            return {"type": "image_url", "image_url": _given(url=part.url, detail=part.detail)}
        case Audio():
            return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
        case File():
            return {
                "type": "file",
                "file": _given(file_data=part.data, file_id=part.file_id, filename=part.filename),
            }
    raise ConfigurationError(f"A message part of type {type(part).__name__} has no form as a dictionary.")


def _from_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
