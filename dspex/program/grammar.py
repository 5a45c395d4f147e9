"""The text form of a signature, read by hand: nothing in it is evaluated.

signature = [fields] "->" fields                 fields  = field {"," field} [","]
field     = NAME [":" type]                      type    = single {"|" single}
single    = path ["[" argument {"," argument} [","] "]"] | "(" type ")"
argument  = type | path | STRING | NUMBER | "..." | "[" [argument {"," argument}] "]" | "()"
path      = NAME {"." NAME}
"""

import importlib
import math
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from types import FrameType, MappingProxyType, ModuleType
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, Union, get_origin

from dspex.core.errors import SignatureError
from dspex.core.nearest import did_you_mean
from dspex.program.fields import name_fault

# Compiled by `re` when they are first needed: a program whose signatures are all classes reads no text.
_WORD = r"""(?xs)\s*(?: (?P<name>[^\W\d]\w*) | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*") | (?P<sign>->|\.\.\.|\(\)|[][:,|.()])
    | (?P<number>-?\d+(?:\.\d+)?(?:e[+-]?\d+)?) | (?P<open>['"].*) | (?P<other>=>|\S) | (?P<end>\Z) )"""
_BUILTINS: Mapping[str, Any] = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (int, str, float, bool, list, tuple, dict, set, frozenset, complex, bytes, bytearray, object, type)
    }
)
_TYPING: Mapping[str, Any] = MappingProxyType({name: getattr(typing, name) for name in typing.__all__})
_GUESSED = tuple("Any Optional Union Literal Annotated List Dict Tuple Set Sequence Mapping Callable".split())
_ABSENT = object()
_CONSTANTS: Mapping[str, Any] = MappingProxyType({"None": None, "True": True, "False": False})
_FAULTS: Mapping[str, str] = MappingProxyType(
    {"=": "a field has no default here; write a class with InputField(default=...)", "*": "stars have no meaning here"}
    | dict.fromkeys("'\"", "this text has no closing quote")
    | dict.fromkeys(("=>", "→", "⇒", "-", ">"), "the arrow is written `->`")
    | dict.fromkeys(("(", "()"), "nothing is called here; give what you mean a name, in custom_types")
    | {"->": "there can be only one arrow, after the inputs", "]": "this bracket was never opened", "": "the text ends"}
)
_ESCAPED = r"(?s)\\(x[\da-fA-F]{2}|u[\da-fA-F]{4}|U00(?:0[\da-fA-F]|10)[\da-fA-F]{4}|.)"
_SHORT: Mapping[str, str] = MappingProxyType(dict(zip("\\'\"nrtabfv0", "\\'\"\n\r\t\a\b\f\v\0", strict=True)))
# What other languages call a type, and names that need their module in front.
_MEANT: Mapping[str, str] = MappingProxyType(
    {"string": "str", "text": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list"}
    | {"json": "dict", "date": "datetime.date", "datetime": "datetime.datetime", "timedelta": "datetime.timedelta"}
    | {"Decimal": "decimal.Decimal", "UUID": "uuid.UUID"}
)
_COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})
_MAX_DIGITS = 18  # what every JSON reader takes for a whole number
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
    shown = text[start : at + 60]
    if not shown.isprintable():
        shown = "".join(letter if letter.isprintable() else " " for letter in shown)
    said = message if message.endswith("?") else f"{message.rstrip('.')}."
    raise SignatureError(f"{said[0].upper()}{said[1:]}\n    {shown}\n    {' ' * (at - start)}^")


def caller() -> FrameType | None:
    """The nearest frame outside dspex."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and f"{frame.f_globals.get('__name__', '')}.".startswith("dspex."):
        frame = frame.f_back
    return frame


class _Parser:
    def __init__(self, text: str, custom: Mapping[str, Any], frame: FrameType | None) -> None:
        self.text, self.custom = text, custom
        self.scopes = _scopes(frame)
        self.depth = self.arrows = self.at = self.taken_at = 0
        self.kind = self.word = ""
        self.ahead = re.finditer(_WORD, text)
        self.take()

    def take(self) -> str:
        word, self.taken_at = self.word, self.at
        match = next(self.ahead, None)
        if match is not None and (kind := match.lastgroup):
            self.kind, self.word, self.at = kind, match[kind], match.start(kind)
        return word

    def accept(self, sign: str) -> bool:
        return self.kind == "sign" and self.word == sign and bool(self.take())

    def unexpected(self, wanted: str) -> NoReturn:
        message = _FAULTS.get(self.word[0] if self.kind == "open" else self.word) if self.kind != "string" else None
        if (self.word == "->" and not self.arrows) or (self.word == "]" and self.depth):
            message = None
        fail(self.text, self.at, f"{message or f'{self.word!r} does not belong here'}; expected {wanted}")

    def signature(self) -> list[Parsed]:
        fields = self.fields("input", "sign", "->")
        self.take()
        self.arrows = 1
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
        if self.accept("("):
            return self.grouped(at)
        if self.kind != "name":
            self.unexpected("a type")
        value, path = self.named(_is_usable)
        if self.accept("["):
            if not _is_generic(value):
                fail(self.text, at, f"{path!r} takes nothing in brackets")
            value = self.made(value, self.arguments(value), repr(path), at)
        if value is None or _is_type(value):
            return value
        lack = "needs its types in brackets" if _is_generic(value) else "is not a type"
        fail(self.text, at, f"{path!r} {lack}")

    def grouped(self, opened: int) -> Any:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            fail(self.text, opened, "types are nested too deep")
        value = self.type()
        if not self.accept(")"):
            fail(self.text, opened, "this bracket is never closed")
        self.depth -= 1
        return value

    def made(self, generic: Any, arguments: list[Any], shown: str, at: int) -> Any:
        try:
            return generic[arguments[0] if len(arguments) == 1 else tuple(arguments)]
        except Exception as error:  # noqa: BLE001  what a foreign class raises over its brackets
            fail(self.text, at, f"{shown} cannot have these types: {error}")

    def arguments(self, value: Any) -> list[Any]:
        opened = self.taken_at
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            fail(self.text, opened, "types are nested too deep")
        found: list[Any] = []
        while not self.accept("]"):
            if self.kind == "end" or self.word == "->":
                fail(self.text, opened, "this bracket is never closed")
            if found and not self.accept(","):
                self.unexpected("a comma or a closing bracket")
            if found and self.accept("]"):
                break
            found.append(self.argument(value, len(found)))
        if not found and value is not None:
            fail(self.text, opened, "there is nothing in these brackets")
        self.depth -= 1
        return found

    def argument(self, value: Any, index: int) -> Any:
        is_note = value is Annotated and index > 0
        takes_data = value is Literal or is_note
        takes_data = takes_data or (isinstance(value, type) and value.__module__ not in ("builtins", "typing"))
        if takes_data and self.kind in ("string", "number"):
            return self.data()
        at = self.at
        if value is Literal and self.kind not in ("open", "other"):
            found = self.named(_is_word)[0] if self.kind == "name" else self
            if _is_word(found):
                return found
            fail(self.text, at, "Literal takes texts, numbers, True, False, None and members of an enum")
        if is_note and self.kind == "name":
            return self.named(_is_anything)[0]
        if self.accept("..."):
            return ...
        if value is tuple and self.accept("()"):
            return ()
        # Brackets in brackets are the parameters of a Callable; they may be empty, which None stands for.
        return self.arguments(None) if self.accept("[") else self.type()

    def data(self) -> Any:
        kind, at, word = self.kind, self.at, self.take()
        if kind == "number":
            if sum(map(str.isdigit, word)) > _MAX_DIGITS:
                fail(self.text, at, f"a number has at most {_MAX_DIGITS} digits here")
            number = int(word) if word.lstrip("-").isdigit() else float(word)
            return number if math.isfinite(number) else fail(self.text, at, "this number is too large")

        def letter(match: re.Match[str]) -> str:
            code = match[1]
            if len(code) > 1:
                return chr(int(code[1:], 16))
            return _SHORT.get(code) or fail(self.text, at + 1 + match.start(), f"the escape `\\{code}` has no meaning")

        return re.sub(_ESCAPED, letter, word[1:-1])

    def named(self, is_wanted: Callable[[Any], bool]) -> tuple[Any, str]:
        """What a path stands for, and the path; of several things by that name the first that is wanted, else the last."""
        at, names = self.at, [self.take()]
        while self.accept("."):
            if self.kind != "name":
                self.unexpected("a name after the point")
            names.append(self.take())
        path, found, ended = ".".join(names), [], None
        for root in self.roots(names):
            value, owner = root, None
            for name in names[1:]:
                value, owner = _member(value, name), value
                if value is _ABSENT:
                    ended = owner, name
                    break
            if value is not _ABSENT:
                if is_wanted(value):
                    return value, path
                found.append(value)
        if found:
            return found[-1], path
        if ended:
            fail(self.text, at, f"there is no {path!r}.{did_you_mean(ended[1], dir(ended[0]))}")
        if self.word in ("(", "()"):
            self.unexpected("a name")
        fail(self.text, at, self.unknown(names[0]))

    def roots(self, names: list[str]) -> Iterator[Any]:
        name = names[0]
        for scope in (self.custom, _CONSTANTS, _BUILTINS, *self.scopes, _TYPING):
            if name in scope:
                yield scope[name]
        if len(names) > 1 and (module := _imported(name)) is not None:
            yield module

    def unknown(self, name: str) -> str:
        own = [key for names in self.scopes for key, value in names.items() if _is_type(value)]
        near = did_you_mean(name, (*_BUILTINS, *self.custom, *own, *_GUESSED))
        near = f" Did you mean {_MEANT[name]!r}?" if name in _MEANT else near
        return f"unknown type {name!r}.{near} A type from elsewhere: custom_types={{{name!r}: ...}}"


def _scopes(frame: FrameType | None) -> list[Mapping[str, Any]]:
    """Names of a function and its module; a comprehension has a frame of its own before Python 3.12."""
    if frame is None:
        return []
    found = [frame.f_locals]
    while frame.f_code.co_name in _COMPREHENSIONS and frame.f_back and frame.f_code in frame.f_back.f_code.co_consts:
        frame = frame.f_back
        found.append(frame.f_locals)
    return [*found, frame.f_globals]


def _is_type(value: Any) -> bool:
    known = isinstance(value, (type, typing.TypeVar, typing.NewType)) or type(value).__name__ == "TypeAliasType"
    return known or value is Any or get_origin(value) is not None


def _is_generic(value: Any) -> bool:
    return hasattr(value, "__class_getitem__") if isinstance(value, type) else type(value).__module__ == "typing"


def _is_usable(value: Any) -> bool:
    return value is None or _is_type(value) or _is_generic(value)


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, (bool, Enum)) or get_origin(value) is Literal


def _is_anything(_: Any) -> bool:
    return True


def _member(owner: Any, name: str) -> Any:
    if not isinstance(owner, (type, ModuleType)):
        return _ABSENT
    with suppress(Exception):  # a module's own __getattr__ may raise anything
        return getattr(owner, name)
    module = _imported(f"{owner.__name__}.{name}") if isinstance(owner, ModuleType) else None
    return _ABSENT if module is None else module


def _imported(path: str) -> Any:
    try:
        return importlib.import_module(path)
    except (Exception, SystemExit):  # noqa: BLE001  whatever a foreign module does while it loads, it is no type
        return None
