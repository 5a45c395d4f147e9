"""The text form of a signature, read by hand: nothing in it is evaluated.

signature = [fields] "->" fields                 fields  = field {"," field} [","]
field     = NAME [":" type]                      type    = single {"|" single}
single    = NAME {"." NAME} ["[" argument {"," argument} "]"]
argument  = type | STRING | NUMBER | "..." | "[" argument {"," argument} "]"
"""

import builtins
import importlib
import re
import sys
import types
import typing
from collections.abc import Mapping
from enum import Enum
from types import FrameType, MappingProxyType
from typing import Any, NamedTuple, NoReturn, Union, get_origin

from dspex.core.errors import SignatureError
from dspex.core.nearest import did_you_mean
from dspex.program.fields import name_fault

_TOKEN = re.compile(
    r"""\s*(?: (?P<name>[^\W\d]\w*) | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*") | (?P<sign>->|\.\.\.|[][:,|.])
        | (?P<number>-?\d{1,18}(?:\.\d{1,18})?) | (?P<open>['"].*) | (?P<other>\S) | (?P<end>\Z) )""",
    re.VERBOSE | re.DOTALL,
)
_BUILTINS = tuple("int str float bool list tuple dict set frozenset complex bytes bytearray object type".split())
_CONSTANTS: Mapping[str, Any] = MappingProxyType({"None": None, "True": True, "False": False})
_FAULTS: Mapping[str, str] = MappingProxyType(
    {"=": "a field has no default here; write a class with InputField(default=...)", "*": "stars have no meaning here"}
    | {"'": "this text has no closing quote", '"': "this text has no closing quote"}
    | {"->": "there can be only one arrow, after the inputs", "]": "this bracket was never opened", "": "the text ends"}
)
_ESCAPED = re.compile(r"\\(x[\da-f]{2}|u[\da-f]{4}|U00(?:0[\da-f]|10)[\da-f]{4}|.)", re.DOTALL)
_SHORT: Mapping[str, str] = MappingProxyType({"n": "\n", "r": "\r", "t": "\t"})
_MAX_DEPTH = 32


class Parsed(NamedTuple):
    """A field as written; `at` is its place in the text."""

    role: str
    name: str
    annotation: Any
    at: int


def parse(text: str, custom_types: Mapping[str, Any] | None = None, frame: FrameType | None = None) -> list[Parsed]:
    """Fields of a signature's text. Type names are looked up in `custom_types`, builtins, `frame`, typing, modules.

    Raises SignatureError with a caret under the fault.
    """
    return _Parser(text, custom_types or {}, frame).signature()


def fail(text: str, at: int, message: str) -> NoReturn:
    """Raise SignatureError that shows the text with a caret; of a long text the part around the fault."""
    start = max(0, at - 60)
    shown = re.sub(r"\s", " ", text[start : at + 60])
    raise SignatureError(f"{message[0].upper()}{message[1:]}.\n    {shown}\n    {' ' * (at - start)}^")


def caller() -> FrameType | None:
    """The nearest frame outside dspex."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and f"{frame.f_globals.get('__name__', '')}.".startswith("dspex."):
        frame = frame.f_back
    return frame


class _Parser:
    def __init__(self, text: str, custom: Mapping[str, Any], frame: FrameType | None) -> None:
        self.text, self.custom = text, custom
        self.scopes: list[Mapping[str, Any]] = [frame.f_locals, frame.f_globals] if frame else []
        self.tokens = [
            (m.lastgroup, m[m.lastgroup], m.start(m.lastgroup)) for m in _TOKEN.finditer(text) if m.lastgroup
        ]
        self.place = self.depth = 0
        self.kind, self.word, self.at = self.tokens[0]

    def take(self) -> str:
        word = self.word
        self.place += 1
        self.kind, self.word, self.at = self.tokens[min(self.place, len(self.tokens) - 1)]
        return word

    def accept(self, sign: str) -> bool:
        return self.kind == "sign" and self.word == sign and bool(self.take())

    def unexpected(self, wanted: str) -> NoReturn:
        message = _FAULTS.get(self.word[0] if self.kind == "open" else self.word) if self.kind != "string" else None
        fail(self.text, self.at, f"{message or f'{self.word!r} does not belong here'}; expected {wanted}")

    def signature(self) -> list[Parsed]:
        fields = self.fields("input", "sign", "->")
        self.take()
        outputs = self.fields("output", "end", "")
        if not outputs:
            fail(self.text, self.at, "there is no output field after the arrow")
        seen: dict[str, Parsed] = {}
        for one in fields + outputs:
            if (other := seen.setdefault(one.name, one)) is not one:
                where = "on both sides" if other.role != one.role else "twice"
                fail(self.text, one.at, f"the field {one.name!r} stands {where}")
        return fields + outputs

    def fields(self, role: str, kind: str, end: str) -> list[Parsed]:
        found: list[Parsed] = []
        while (self.kind, self.word) != (kind, end):
            at = self.at
            if self.kind == "end":
                fail(self.text, at, "there is no arrow: write `inputs -> outputs`")
            if self.kind != "name":
                self.unexpected("a field's name")
            if wrong := name_fault(self.word):
                fail(self.text, at, wrong)
            found.append(Parsed(role, self.take(), self.type() if self.accept(":") else str, at))
            if not self.accept(",") and (self.kind, self.word) != (kind, end) and self.kind != "end":
                self.unexpected("a comma or the arrow" if end else "a comma")
        return found

    def type(self) -> Any:
        at, parts = self.at, [self.single()]
        while self.accept("|"):
            parts.append(self.single())
        return parts[0] if len(parts) == 1 else self.made(Union, parts, "a union", at)

    def single(self) -> Any:
        at = self.at
        if self.kind != "name":
            self.unexpected("a type")
        value, path = self.named()
        if self.accept("["):
            if not _is_generic(value):
                fail(self.text, at, f"{path!r} takes nothing in brackets")
            value = self.made(value, self.arguments(value), repr(path), at)
        if value is None or _is_type(value):
            return value
        fail(
            self.text, at, f"{path!r} needs its types in brackets" if _is_generic(value) else f"{path!r} is not a type"
        )

    def made(self, generic: Any, arguments: list[Any], shown: str, at: int) -> Any:
        try:
            return generic[arguments[0] if len(arguments) == 1 else tuple(arguments)]
        except (TypeError, KeyError, ValueError) as error:
            fail(self.text, at, f"{shown} cannot have these types: {error}")

    def arguments(self, value: Any) -> list[Any]:
        opened = self.tokens[self.place - 1][2]
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            fail(self.text, opened, "types are nested too deep")
        found: list[Any] = []
        while not self.accept("]"):
            if self.kind == "end" or self.word == "->":
                fail(self.text, opened, "this bracket is never closed")
            if found and not self.accept(","):
                self.unexpected("a comma or a closing bracket")
            found.append(self.argument(value, len(found)))
        if not found:
            fail(self.text, opened, "there is nothing in these brackets")
        self.depth -= 1
        return found

    def argument(self, value: Any, index: int) -> Any:
        takes_data = value is typing.Literal or (value is typing.Annotated and index > 0)
        takes_data = takes_data or (isinstance(value, type) and value.__module__ not in ("builtins", "typing"))
        if takes_data and self.kind in ("string", "number"):
            return _data(self.kind, self.take())
        at = self.at
        if value is typing.Literal and self.kind not in ("open", "other"):
            found = self.named()[0] if self.kind == "name" else self
            if found in (None, True, False) or isinstance(found, Enum):
                return found
            fail(self.text, at, "Literal takes texts, numbers, True, False, None and members of an enum")
        if self.accept("..."):
            return ...
        return self.arguments(value) if self.accept("[") else self.type()

    def named(self) -> tuple[Any, str]:
        at, path = self.at, self.take()
        value = self.lookup(path, at)
        while self.accept("."):
            if self.kind != "name":
                self.unexpected("a name after the point")
            name = self.take()
            path = f"{path}.{name}"
            known = isinstance(value, (type, types.ModuleType)) and hasattr(value, name)
            value = getattr(value, name) if known else isinstance(value, types.ModuleType) and _imported(path)
            if not known and not value:
                fail(self.text, at, f"there is no {path!r}")
        return value, path

    def lookup(self, name: str, at: int) -> Any:
        for names in (self.custom, _CONSTANTS):
            if name in names:
                return names[name]
        if name in _BUILTINS:
            return getattr(builtins, name)
        for names in self.scopes:
            if name in names and (_is_type(names[name]) or isinstance(names[name], types.ModuleType)):
                return names[name]
        if name in typing.__all__:
            return getattr(typing, name)
        if (self.kind, self.word) == ("sign", ".") and (module := _imported(name)) is not None:
            return module
        own = [key for names in self.scopes for key, value in names.items() if _is_type(value)]
        near = did_you_mean(name, (*_BUILTINS, *self.custom, *own, *typing.__all__))
        fail(self.text, at, f"unknown type {name!r}.{near} A type from elsewhere: custom_types={{{name!r}: ...}}")


def _is_type(value: Any) -> bool:
    known = isinstance(value, (type, typing.TypeVar, typing.NewType)) or type(value).__name__ == "TypeAliasType"
    return known or value is Any or get_origin(value) is not None


def _is_generic(value: Any) -> bool:
    return hasattr(value, "__class_getitem__") or (hasattr(value, "__getitem__") and value.__module__ == "typing")


def _data(kind: str, word: str) -> Any:
    if kind == "string":
        return _ESCAPED.sub(lambda m: chr(int(m[1][1:], 16)) if m[1][1:] else _SHORT.get(m[1], m[1]), word[1:-1])
    return float(word) if "." in word else int(word)


def _imported(path: str) -> Any:
    try:
        return importlib.import_module(path)
    except (Exception, SystemExit):  # noqa: BLE001  whatever a foreign module does while it loads, it is no type
        return None
