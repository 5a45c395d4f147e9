"""DSPy's path of what adapters of one's own read and write values by."""

from typing import Any

from dspex.core.identity import plain
from dspex.program.adapters.base import shown
from dspex.program.fields import FieldInfo
from dspex.program.parts import Content
from dspex.program.values import codec, type_text

__all__ = ["format_field_value", "get_annotation_name", "parse_value", "serialize_for_json"]


def parse_value(value: Any, annotation: Any) -> Any:
    """The value of that type that a text says, or JSON data are. Raises ValueError, TypeError for a type that none can be of."""
    kind = codec(annotation)
    return kind.decode(value) if isinstance(value, str) else kind.convert(value)


def format_field_value(field_info: FieldInfo, value: Any) -> Content:
    """How a prompt shows a field's value: a text, or parts where there are pictures, sounds or files in it."""
    return shown(field_info, value)


def get_annotation_name(annotation: Any) -> str:
    """A type as one writes it."""
    return type_text(annotation)


def serialize_for_json(value: Any) -> Any:
    """A value as JSON data."""
    return plain(value)
