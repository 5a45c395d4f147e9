"""A signature's text with all types: what `grammar.parse` reads back as the same fields."""

from collections.abc import Iterable
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from dspex.program.fields import FieldInfo


def render(fields: Iterable[FieldInfo]) -> str:
    """The text of a signature with all types: what `parse` reads back as the same fields."""
    sides: dict[str, list[str]] = {"input": [], "output": []}
    for one in fields:
        sides[one.role].append(f"{one.name}: {written(one.annotation)}")
    return " -> ".join(map(", ".join, sides.values()))


def written(annotation: Any) -> str:
    """A type as `parse` reads it: with its module, unless that is builtins, typing, or where no import reaches."""
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is ...:
        return "..."
    if isinstance(annotation, list):
        return f"[{', '.join(map(written, annotation))}]"
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " | ".join(map(written, args))
    if origin is None or not hasattr(annotation, "__args__"):
        return _path(annotation)
    if origin is Annotated:
        return f"Annotated[{', '.join([written(args[0]), *map(_noted, args[1:])])}]"
    texts = map(_noted, args) if origin is Literal else map(written, args)
    return f"{_path(annotation)}[{', '.join(texts) or '()'}]"


def _path(kind: Any) -> str:
    """The name of a type as it is reached from anywhere, or from where it was defined if nowhere else."""
    name = getattr(kind, "__qualname__", None) or getattr(kind, "__name__", None) or str(kind)
    module = getattr(kind, "__module__", None)
    if "<" in name:
        return name.rpartition(".")[2]
    return name if module in ("builtins", "typing", "__main__", None) else f"{module}.{name}"


def _noted(value: Any) -> str:
    return f"{_path(type(value))}.{value.name}" if isinstance(value, Enum) else repr(value)
