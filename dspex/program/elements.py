"""The elements of a list or an object in JSON, each judged as soon as it is over, while the rest is still to come."""

import re
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin

import msgspec

from dspex.program.values import converter, from_plain

Judge = Callable[[Any], str]  # what is wrong with a list, or an object, of one element; nothing if all is well

LONGEST = 16_384  # characters of an element that is followed

_LISTS = (list, set, frozenset)
_MARK = re.compile(r'["\[\]{},]')
_STRING = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)


class Elements:
    """Follows a text as long as it is exact JSON: what has to be mended may mean something else when it is whole."""

    __slots__ = ("_depth", "_is_followed", "_is_in_string", "_judge", "_pending", "_place", "_wrap")

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._wrap = ""  # the outermost brackets
        self._depth = 0
        self._pending = ""  # of the element that comes
        self._place = 0  # how far that has been looked through
        self._is_in_string = False  # there
        self._is_followed = True

    def feed(self, piece: str) -> str:
        """What is wrong with an element that this piece ends, or nothing."""
        if not self._is_followed:
            return ""
        self._pending += piece
        if len(self._pending) > LONGEST:
            self._leave()
        if not self._wrap and not self._opened():
            return ""
        while not self._is_in_string or self._string_is_over():
            mark = _MARK.search(self._pending, self._place)
            if mark is None:
                self._place = len(self._pending)
                break
            if mark[0] == '"':
                self._place, self._is_in_string = mark.end(), True
            elif fault := self._passed(mark):
                return fault
        return ""

    def _string_is_over(self) -> bool:
        """Go on to the end of the string, or as far as it has come: to a backslash whose character is still to come."""
        self._place = _STRING.match(self._pending, self._place).end()  # type: ignore[union-attr]  # it matches nothing too
        if self._pending[self._place : self._place + 1] != '"':
            return False
        self._place, self._is_in_string = self._place + 1, False
        return True

    def _opened(self) -> bool:
        text = self._pending.lstrip()
        if text[:1] in ("[", "{"):
            self._wrap = "[]" if text[0] == "[" else "{}"
            self._depth, self._pending = 1, text[1:]
            return True
        if text:
            self._leave()
        return False

    def _passed(self, mark: re.Match[str]) -> str:
        """Go past a bracket or a comma."""
        self._place = mark.end()
        if mark[0] in "[{":
            self._depth += 1
            return ""
        if mark[0] in "]}":
            self._depth -= 1
        if self._depth > 1 or (self._depth == 1 and mark[0] != ","):
            return ""
        element, self._pending, self._place = self._pending[: mark.start()], self._pending[mark.end() :], 0
        is_over = self._depth == 0
        fault = self._judged(element) if element.strip() or not is_over else ""
        if is_over:
            self._leave()
        return fault

    def _judged(self, element: str) -> str:
        try:
            one = msgspec.json.decode(f"{self._wrap[0]}{element}{self._wrap[1]}")
        except (ValueError, RecursionError):
            one = ()
        if len(one) != 1:
            self._leave()
            return ""
        return self._judge(one)

    def _leave(self) -> None:
        self._is_followed, self._pending, self._place = False, "", 0


def judge_of(kind: Any) -> Judge | None:
    """What judges the elements of such a value; None for types of which they are not known."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in _LISTS or origin is dict or (origin is tuple and args[1:] == (...,)):
        return _judge(kind, list if origin is not dict else dict)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__struct_config__.tag is None:
        try:
            fields = {field.encode_name: _judge(field.type, None) for field in msgspec.structs.fields(kind)}
        except (TypeError, NameError):  # types that cannot be resolved
            return None
        return lambda one: _of_struct(fields, one)
    return None


def _of_struct(fields: Mapping[str, Judge], one: Any) -> str:
    if type(one) is not dict:
        return ""
    [(name, value)] = one.items()
    fault = fields[name](value) if name in fields else ""
    return f"{fault} - in `{name}`" if fault else ""


def _judge(kind: Any, wanted: type | None) -> Judge:
    convert = converter(kind)

    def judge(value: Any) -> str:
        if wanted is not None and type(value) is not wanted:
            return ""  # a list in place of an object, or the other way round: it is read when it is whole
        try:
            convert(value)
            return ""
        except (ValueError, TypeError, RecursionError) as error:
            fault = str(error)
        try:
            msgspec.json.decode(msgspec.json.encode(value), type=kind, dec_hook=from_plain)
            return ""
        except (ValueError, TypeError, RecursionError):
            return fault

    return judge
