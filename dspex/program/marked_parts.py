"""Pictures, sounds and files in the demos of a file that DSPy wrote, where each is a text with marks around its part."""

import re
from collections.abc import Mapping
from typing import Any

from dspex.program.fields import FieldInfo
from dspex.program.json_text import read_json

_MARKED = re.compile(r"\A<<CUSTOM-TYPE-START-IDENTIFIER>>(.*)<<CUSTOM-TYPE-END-IDENTIFIER>>\Z", re.DOTALL)
_OF_FILES = ("file_data", "file_id", "filename")


def unmarked(fields: Mapping[str, FieldInfo], demo: Mapping[str, Any]) -> dict[str, Any]:
    """The demo with the data of those parts, in the fields whose types have such; a text of another field stays one."""
    return {
        name: _data(value) if name in fields and fields[name].restore is not None else value
        for name, value in demo.items()
    }


def _data(value: Any) -> Any:
    if isinstance(value, list):
        return [*map(_data, value)]
    if isinstance(value, Mapping):
        return {name: _data(one) for name, one in value.items()}
    marked = _MARKED.match(value) if isinstance(value, str) else None
    if marked is None:
        return value
    try:
        part = read_json(marked[1])  # before 3.0 it is in Python's spelling
    except ValueError:
        return value
    match part:
        case [{"type": "image_url", "image_url": {"url": str(url)}}]:
            return {"url": url}
        case [{"type": "input_audio", "input_audio": {"data": str(data), "format": str(form)}}]:
            return {"data": data, "audio_format": form}
        case [{"type": "file", "file": {**file}}]:
            return {name: file[name] for name in _OF_FILES if name in file}
    return value
