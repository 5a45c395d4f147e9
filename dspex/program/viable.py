"""Whether the text of an output, as far as it has come, can still become a value of its type.

Only what is certain counts: reading is tolerant (`values.py`), and a text is given up where no continuation could be read.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, time
from enum import Enum
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from dspex.core.gathered import MANY, Gathered
from dspex.program.compiled import CompiledSignature
from dspex.program.elements import Elements, judge_of
from dspex.program.fields import FieldInfo
from dspex.program.values import is_optional, render

Check = Callable[[str], bool]

LOOKED_AT = 400  # characters of a scalar that are looked at while it comes; a longer one is read when it is over
_NULLS = ("null", "None")
_TRUTHS = ("true", "yes", "1", "false", "no", "0")
_EDGE = r"""[\s`*"'.]*"""  # what reading drops around a value
_EDGES = re.compile(_EDGE)
# Either kind of number, as JSON writes whole ones with a point or an exponent too.
_NUMBER = re.compile(rf"{_EDGE}[+-]?[\d_,]*\.?[\d_]*(?:[eE][+-]?[\d_]*)?{_EDGE}")
_DATE = re.compile(rf"{_EDGE}[\dWE.+-]*{_EDGE}", re.IGNORECASE)
_TIME = re.compile(rf"{_EDGE}[\dTZE:+.,-]*{_EDGE}", re.IGNORECASE)
_SHAPES: Mapping[Any, re.Pattern[str]] = MappingProxyType({int: _NUMBER, float: _NUMBER, date: _DATE, time: _TIME})


class Watch:
    """One reply's fields as they come."""

    __slots__ = ("_checks", "_elements", "_field", "_length", "_parts", "_seen")

    def __init__(self, compiled: CompiledSignature) -> None:
        checks = compiled.templates.get("viable")
        if checks is None:
            checks = compiled.templates["viable"] = {field.name: _Checks(field) for field in compiled.outputs}
        self._checks: Mapping[str, _Checks] = checks
        self._field: _Checks | None = None
        self._parts = Gathered()
        self._length = 0
        self._seen = ""
        self._elements: Elements | None = None

    def heard(self, pieces: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
        """The field that can no longer become valid by what came, and why; None as long as all can."""
        for name, piece in pieces:
            checks = self._checks.get(name)
            if checks is not self._field:
                ended, text = self._field, self._parts.text
                self._field, self._parts, self._length, self._seen = checks, Gathered(), 0, ""
                self._elements = Elements(checks.judge) if checks is not None and checks.judge is not None else None
                # Of an empty text it is not known whether that is all: a parser may keep a value to itself.
                if ended is not None and text and (fault := ended.whole(text)):
                    return ended.name, fault
            if checks is not None and checks.has_any and piece and (fault := self._grown(checks, piece)):
                return checks.name, fault
        return None

    def _grown(self, checks: "_Checks", piece: str) -> str:
        self._parts.add(piece)
        if len(self._parts.pieces) >= MANY:
            self._parts.draw()
        if self._elements is not None:
            return self._elements.feed(piece)
        self._length += len(piece)
        is_too_long = checks.max_length is not None and self._length > checks.max_length
        if not is_too_long and (checks.begun is None or self._length > LOOKED_AT):
            return ""
        self._seen += piece
        if not is_too_long and checks.begun is not None and checks.begun(self._seen):
            return ""
        text = self._parts.text
        return checks.whole(text) or f"{text[:60]!r} cannot become one"


class _Checks:
    """What is asked of one field: `begun` of a text that may go on, `judge` of each element in it, `whole` of one that is over."""

    __slots__ = ("_field", "begun", "has_any", "judge", "max_length", "name")

    def __init__(self, field: FieldInfo) -> None:
        kind, metas = _bare_kind(field)
        limits = [meta.max_length for meta in metas if meta.max_length is not None]
        self.name = field.name
        # A text that reads as null is in quotes where null is a value too.
        self.max_length = min(limits) + 2 * is_optional(field.annotation) if limits and kind is str else None
        self.begun = _begun(kind, field.annotation)
        self.judge = judge_of(kind)
        self.has_any = field.annotation is not str or bool(metas)
        self._field = field

    def whole(self, text: str) -> str:
        """What is wrong with a whole text, or nothing: one of the two ways of reading, from text and from JSON, is enough."""
        try:
            self._field.decode(text)
            return ""
        except ValueError as error:
            fault = str(error)
        try:
            self._field.convert(msgspec.json.decode(text))
            return ""
        except (ValueError, RecursionError):
            return fault


def _bare_kind(field: FieldInfo) -> tuple[Any, list[msgspec.Meta]]:
    """The type without None and without notes, and its constraints."""
    kind, metas = field.annotation, [field.meta] if field.meta is not None else []
    while True:
        if get_origin(kind) is Annotated:
            metas += [note for note in kind.__metadata__ if isinstance(note, msgspec.Meta)]
            kind = get_args(kind)[0]
        elif is_optional(kind) and len(get_args(kind)) == 2:
            kind = next(arg for arg in get_args(kind) if arg is not type(None))
        else:
            return kind, metas


def _begun(kind: Any, annotation: Any) -> Check | None:
    """Whether a text may be the beginning of such a value; None for types of which that is not known."""
    if getattr(kind, "field_codec", None) is not None:
        return None
    if kind in _SHAPES:
        check = _shaped(_SHAPES[kind])
    elif kind is bool:
        check = _one_of(_TRUTHS)
    elif get_origin(kind) is Literal:
        check = _one_of([render(value) for value in get_args(kind)])
    elif isinstance(kind, type) and issubclass(kind, Enum):
        check = _one_of([*(render(member) for member in kind), *kind.__members__])
    else:
        return None
    nulls = _NULLS if is_optional(annotation) else ()
    return lambda text: check(text) or "```" in text or any(null.startswith(text) for null in nulls)


def _shaped(pattern: re.Pattern[str]) -> Check:
    return lambda text: pattern.fullmatch(text) is not None


def _one_of(words: Sequence[str]) -> Check:
    known = [_folded(word) for word in words]

    def check(text: str) -> bool:
        begun = _folded(text)
        return any(
            word.startswith(begun) or (begun.startswith(word) and _EDGES.fullmatch(begun, len(word))) for word in known
        )

    return check


def _folded(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", re.sub(rf"\A{_EDGE}", "", text)).casefold()
