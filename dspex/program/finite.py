"""Numbers in a reply are finite: 1e400, "nan" and Infinity are no values that a model can have meant."""

import dataclasses
import math
import typing
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, get_args, get_origin

_SCALARS = (str, bytes, int, type(None), Enum)  # a member is one of its class, whose attributes lead round in a ring
_OPEN = (float, Decimal, list, dict, tuple, set, frozenset, object)  # a bare container may hold any number


def may_be_infinite(annotation: Any) -> bool:
    """Whether a value of the type may hold a float or a Decimal; where that is not known, it may."""
    return _may(annotation, set())


def is_infinite(value: Any) -> bool:
    """Whether a number in a value, at any depth, is infinite or none."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Decimal):
        return not value.is_finite()
    if isinstance(value, _SCALARS):
        return False
    return any(map(is_infinite, _inner(value)))


def _may(annotation: Any, seen: set[Any]) -> bool:
    if get_origin(annotation) is Literal:
        return False
    if args := get_args(annotation):
        return any(_may(arg, seen) for arg in args if arg is not ...)
    if annotation in _OPEN or not isinstance(annotation, type):
        return True
    if annotation in seen or issubclass(annotation, _SCALARS) or annotation.__module__ in ("datetime", "uuid"):
        return False
    seen.add(annotation)
    try:
        hints = typing.get_type_hints(annotation)
    except Exception:  # noqa: BLE001  annotations that cannot be looked up, whatever that raises
        return True
    return not hints or any(_may(hint, seen) for hint in hints.values())


def _inner(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return (*value.keys(), *value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return value
    if (names := getattr(value, "__struct_fields__", None)) is not None:
        return [getattr(value, name) for name in names]
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return vars(value).values() if hasattr(value, "__dict__") else ()
