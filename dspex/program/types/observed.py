"""What a tool gave as a model sees it: a text, and beside it the pictures, sounds and files that were in it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from dspex.core.identity import plain
from dspex.program.types.base import Type
from dspex.program.types.media import Audio, File, Image, Media
from dspex.program.values import render

_KIND = "x-type"  # in a journal: what JSON data was before
_MEDIA: Mapping[str, type[Media]] = MappingProxyType({f"dspex.{one.__name__}": one for one in (Audio, File, Image)})


def media_in(value: Any) -> tuple[Media, ...]:
    """The pictures, sounds and files of a result: one by itself, or those of a list."""
    if isinstance(value, Media):
        return (value,)
    return tuple(one for one in value if isinstance(one, Media)) if isinstance(value, list | tuple) else ()


def text_of(value: Any) -> str:
    """A result in words that can be sent: a picture is named, and not written out; half a character becomes a mark."""
    if isinstance(value, Media):
        return f"({type(value).__name__.lower()})"
    if media_in(value):
        return "\n".join(map(text_of, value))
    try:
        return render(value).encode(errors="replace").decode()
    except Exception as error:  # noqa: BLE001  whatever an object's own text raises
        return f"(a {type(value).__name__} without a text: {type(error).__name__})"


class Illustrated(Type):
    """A text with pictures, sounds or files below it."""

    readable = False

    text: str
    media: Sequence[Any] = ()

    def __init__(self, text: str, media: Sequence[Media]) -> None:
        vars(self).update(text=text, media=tuple(media))

    def format(self) -> list[dict[str, Any]]:
        """Parts of a message."""
        return [{"type": "text", "text": self.text}, *(part for one in self.media for part in one.format())]


# In a journal


def packed(value: Any) -> Any:
    """The value with its media as JSON data that `unpacked` knows again."""
    if isinstance(value, Media):
        return {_KIND: f"dspex.{type(value).__name__}", **plain(value)}
    return [packed(one) for one in value] if media_in(value) else value


def unpacked(value: Any) -> Any:
    """What was packed."""
    if isinstance(value, list):
        return [unpacked(one) for one in value]
    if not isinstance(value, dict) or value.get(_KIND) not in _MEDIA:
        return value
    return _MEDIA[value[_KIND]](**{name: one for name, one in value.items() if name != _KIND})
