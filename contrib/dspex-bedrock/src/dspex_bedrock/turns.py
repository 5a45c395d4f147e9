"""Messages in the form of the Converse API: the system's texts apart, turns of blocks that alternate; plain functions."""

import re
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
    ToolCall,
    ToolResult,
    call_arguments,
    data_url,
)

Block = dict[str, Any]

_FORMATS = {
    "application/msword": "doc",
    "application/pdf": "pdf",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "image/jpg": "jpeg",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
    "text/plain": "txt",
}
_NO_NAME = r"[^a-zA-Z0-9\s\-()\[\]]|\s(?=\s)"


def to_turns(messages: Iterable[Message]) -> tuple[list[Block], list[Block]]:
    """The blocks of the system prompt, and the turns; turns of one side that follow each other are one.

    Raises BadRequest where no turn is left, and for parts that the API has no form for.
    """
    system: list[Block] = []
    turns: list[Block] = []
    for message in messages:
        blocks = [*_blocks(message.parts)]
        if message.role == "system":
            system += blocks
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if not turns:
        raise BadRequest("A request to Bedrock needs a user's turn beside the system's, with something in it.")
    return system, turns


def _blocks(parts: Iterable[Part]) -> Iterator[Block]:
    """The blocks of a message; the API refuses empty texts, which say nothing."""
    for part in parts:
        match part:
            case Text(text=text):
                if text:
                    yield {"text": text}
            case Image(url=url):
                kind, source = _source(url, "images")
                yield {"image": {"format": _FORMATS.get(kind, kind.rpartition("/")[2]) or "png", "source": source}}
            case Audio(data=data, format=form):
                yield {"audio": {"format": form, "source": {"bytes": data}}}
            case File():
                yield _document(part)
            case ToolCall(id=call_id, name=name):
                yield {"toolUse": {"toolUseId": call_id, "name": name, "input": call_arguments(part)}}
            case ToolResult(id=call_id, text=text):
                result: Block = {"toolUseId": call_id, "content": [{"text": text}]}
                yield {"toolResult": result | ({"status": "error"} if part.is_error else {})}


def _source(url: str, what: str) -> tuple[str, Block]:
    """Kind and place of media: base64 in a data URL, or a file at S3."""
    if url.startswith("s3://"):
        return url.rpartition(".")[2], {"s3Location": {"uri": url}}
    found = data_url(url)
    if found is None:
        raise BadRequest(f"Bedrock takes base64 data, or s3://, only ({what}); this one begins with {url[:40]!r}.")
    return found.kind, {"bytes": found.data}


def _document(file: File) -> Block:
    given = file.data or file.file_id
    if given is None:
        raise BadRequest("A file has neither data nor an id.")
    kind, source = _source(given, "files")
    name = re.sub(_NO_NAME, "-", (file.filename or "document").rpartition(".")[0] or file.filename or "document")
    return {"document": {"format": _FORMATS.get(kind, kind.rpartition("/")[2]), "name": name[:200], "source": source}}
