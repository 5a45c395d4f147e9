"""Conditions on passages' metadata: what a search is narrowed to, with one meaning for every retriever."""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, Literal

import msgspec

from dspex.core.errors import InputError

Scalar = str | int | float | bool
Operator = Literal["in", "gt", "gte", "lt", "lte"]

RANGES = ("gt", "gte", "lt", "lte")


class Condition(msgspec.Struct, frozen=True):
    """One condition: a field of the metadata is one of `values` ("in"), or stands so to the only one, a number.

    Texts equal texts, numbers numbers (1 and 1.0 are equal) and booleans booleans. Where the field is absent, or holds
    anything else, the condition does not hold. For whole numbers beyond 2**53, engines may take a bound as its nearest float.
    """

    field: str
    operator: Operator
    values: tuple[Scalar, ...]

    def holds(self, value: Any) -> bool:
        """Whether it holds for the field's value, None where there is none."""
        if self.operator == "in":
            return any(value == one and kind(value) is kind(one) for one in self.values)
        bound: Any = self.values[0]
        if kind(value) is not float:
            return False
        if self.operator == "gt":
            return bool(value > bound)
        if self.operator == "gte":
            return bool(value >= bound)
        return bool(value < bound if self.operator == "lt" else value <= bound)


Where = Mapping[str, Any] | tuple[Condition, ...] | None


def kind(value: Any) -> type | None:
    """What a value may be compared with: str, float (any number), bool; None: with nothing."""
    if isinstance(value, bool):
        return bool
    if isinstance(value, (int, float)):
        return float
    return str if isinstance(value, str) else None


def conditions(where: Where) -> tuple[Condition, ...]:
    """What `where` says, all of which must hold: `{"lang": "en", "tag": ["a", "b"], "year": {"gte": 2000, "lt": 2010}}`.

    A value stands for itself, a list for any of its values, a dictionary for bounds; Conditions are taken as they are, as one
    retriever hands them to another. Raises InputError.
    """
    if where is None:
        return ()
    if isinstance(where, tuple) and all(isinstance(one, Condition) for one in where):
        return where
    if not isinstance(where, Mapping):
        raise InputError(f"where= takes a dictionary of metadata fields, not {where!r:.80}.")
    return tuple(one for field, wanted in sorted(where.items()) for one in _of_field(field, wanted))


def all_hold(wanted: Iterable[Condition], metadata: Mapping[str, Any]) -> bool:
    """Whether all conditions hold for a passage's metadata."""
    return all(one.holds(metadata.get(one.field)) for one in wanted)


def _of_field(field: Any, wanted: Any) -> list[Condition]:
    if not isinstance(field, str) or not field:
        raise InputError(f"where= names fields of the metadata by texts, not by {field!r:.60}.")
    if isinstance(wanted, Mapping):
        return [Condition(field, operator, (_bound(field, operator, value),)) for operator, value in wanted.items()]
    values = wanted if isinstance(wanted, (list, tuple, set, frozenset)) else (wanted,)
    if not values:
        raise InputError(f"where={{{field!r}: {wanted!r}}}: name one value at least; none would match nothing.")
    return [Condition(field, "in", tuple(_scalar(field, value) for value in values))]


def _scalar(field: str, value: Any) -> Scalar:
    if kind(value) is None or not (isinstance(value, str) or is_kept(value)):
        raise InputError(
            f"where={{{field!r}: ...}} compares with texts, finite numbers of 64 bits and booleans, not {value!r:.60}."
        )
    return value  # type: ignore[no-any-return]  # `kind` has looked


def is_kept(number: float) -> bool:
    """Whether any index can keep a number: it is finite, and whole ones have 64 bits."""
    return -(1 << 63) <= number < 1 << 64 if isinstance(number, int) else isfinite(number)


def _bound(field: str, operator: Any, value: Any) -> Scalar:
    if operator not in RANGES:
        raise InputError(f"where={{{field!r}: {{{operator!r}: ...}}}}: bounds are {', '.join(RANGES)}.")
    if kind(value) is not float:
        raise InputError(f"where={{{field!r}: {{{operator!r}: {value!r:.60}}}}}: a bound is a number.")
    return _scalar(field, value)
