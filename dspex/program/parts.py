"""Values in a message: text, with parts of messages in it where a value holds pictures, sound or files.

Parts are never marked in text: they stay objects, and text is never searched for them.
"""

import typing
from collections.abc import Callable, Sequence
from typing import Any, get_args

import msgspec

from dspex.program.pydantic_models import dumped
from dspex.program.types.base import Type
from dspex.program.values import converter, render, to_plain

Content = str | list[dict[str, Any]]

_plain = msgspec.json.Encoder()


def content(value: Any) -> Content:
    """A value as it stands in a message."""
    if isinstance(value, str):
        return render(value)
    form = value.format() if isinstance(value, Type) else value
    if isinstance(form, str):
        return form
    if isinstance(value, Type) and isinstance(form, list):
        return joined("", [form])
    try:
        return _plain.encode(form).decode()
    except (ValueError, TypeError, OverflowError, RecursionError):  # there is more in it than plain data
        return _with_parts(form)


def _with_parts(form: Any) -> Content:
    found: list[list[dict[str, Any]]] = []

    def hook(inner: Any) -> Any:
        if hasattr(inner, "model_dump"):
            return dumped(inner, with_parts=True)
        if not isinstance(inner, Type):
            return to_plain(inner)
        form = inner.format()
        if not isinstance(form, list):
            return form
        found.append(form)
        return msgspec.Raw(b"\0")  # never in JSON text, where it would be escaped

    try:
        text = msgspec.json.encode(form, enc_hook=hook).decode()
    except (ValueError, TypeError, OverflowError, RecursionError):
        return render(form)
    if not found:
        return text
    first, *texts = text.split("\0")
    sections: list[Content] = [first]
    for part, behind in zip(found, texts, strict=True):
        sections += (part, behind)
    return joined("", sections)


def joined(separator: str, sections: Sequence[Content]) -> Content:
    """Sections with a separator between them: a list only where one holds a part, with neighbouring texts made one."""
    try:
        return separator.join(sections)  # type: ignore[arg-type]  # nearly always they are all texts
    except TypeError:
        pass
    parts: list[dict[str, Any]] = []
    for index, section in enumerate(sections):
        pieces = [_text(section)] if isinstance(section, str) else section
        for piece in [_text(separator), *pieces] if index else pieces:
            if piece.get("type") != "text":
                parts.append(piece)
            elif parts and parts[-1].get("type") == "text":
                parts[-1] = _text(parts[-1]["text"] + piece["text"])
            elif piece["text"]:
                parts.append(piece)
    return parts if any(part.get("type") != "text" for part in parts) else "".join(part["text"] for part in parts)


def mapped(change: Callable[[str], str], section: Content) -> Content:
    """With each text changed."""
    if isinstance(section, str):
        return change(section)
    return [_text(change(part["text"])) if part.get("type") == "text" else part for part in section]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def restorer(annotation: Any) -> Callable[[Any], Any] | None:
    """What makes JSON data, as a saved demo has them, Types again; None for an annotation without any."""
    if not _holds_types(annotation, set()):
        return None
    try:
        convert = converter(annotation)
    except Exception:  # noqa: BLE001  a type that nothing can be read for, as its own library says it
        return None

    def restore(value: Any) -> Any:
        try:
            return convert(value)
        except (ValueError, TypeError, RecursionError):  # another value, or a union that msgspec does not take
            return value

    return restore


def _holds_types(annotation: Any, seen: set[Any]) -> bool:
    args = get_args(annotation)
    if args:
        return any(_holds_types(arg, seen) for arg in args)
    if not isinstance(annotation, type) or annotation in seen or annotation.__module__ == "builtins":
        return False
    seen.add(annotation)
    if issubclass(annotation, Type):
        return True
    try:
        hints = typing.get_type_hints(annotation)
    except (NameError, TypeError):  # annotations that nobody can look up
        return False
    return any(_holds_types(hint, seen) for hint in hints.values())
