"""Messages and completions in OpenAI's dictionary form, which DSPy's programs, adapters and histories use."""

from collections.abc import Mapping
from typing import Any

import msgspec

from dspex.core.errors import ConfigurationError
from dspex.core.messages import Audio, Choice, File, Image, LMResponse, Message, Part, Text


def completions(reply: LMResponse) -> list[Any]:
    """What a call of an LM gives back: each completion's text, a dictionary where it has more than text."""
    return [_output(choice) for choice in reply.choices]


def _output(choice: Choice) -> Any:
    if not (choice.tool_calls or choice.reasoning or choice.logprobs):
        return choice.text
    more = {
        "reasoning_content": choice.reasoning,
        "tool_calls": [msgspec.to_builtins(call) for call in choice.tool_calls],
        "logprobs": choice.logprobs,
    }
    return {"text": choice.text, **{name: value for name, value in more.items() if value}}


def to_message(given: Mapping[str, Any]) -> Message:
    """A message from DSPy's (OpenAI's) dictionary form. Raises ConfigurationError for a part of unknown type."""
    content = given.get("content")
    if isinstance(content, str) or content is None:
        return Message.of(given["role"], content or "")
    return Message(given["role"], tuple(_to_part(part) for part in content))


def _to_part(part: Mapping[str, Any]) -> Part:
    match part.get("type"):
        case "text":
            return Text(part["text"])
        case "image_url":
            return Image(part["image_url"]["url"])
        case "input_audio":
            return Audio(part["input_audio"]["data"], part["input_audio"]["format"])
        case "file":
            file = part["file"]
            return File(file.get("file_data"), file.get("file_id"), file.get("filename"))
    raise ConfigurationError(
        f"A message part of type {part.get('type')!r} is unknown: text, image_url, input_audio, file."
    )


def from_message(message: Message) -> dict[str, Any]:
    """A message in DSPy's dictionary form; content is text where there is nothing else."""
    if all(isinstance(part, Text) for part in message.parts):
        return {"role": message.role, "content": message.text}
    return {"role": message.role, "content": [_from_part(part) for part in message.parts]}


def _from_part(part: Part) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image():
            return {"type": "image_url", "image_url": {"url": part.url}}
        case Audio():
            return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
        case File():
            file = {"file_data": part.data, "file_id": part.file_id, "filename": part.filename}
            return {"type": "file", "file": {name: value for name, value in file.items() if value is not None}}
    return msgspec.to_builtins(part)  # type: ignore[no-any-return]  # a Struct is a dictionary then
