"""Types of fields as JSON schemas, and types out of such schemas, importing nothing.

What JSON schema has no word for stands beside it: `x-type` (a tuple, a set, a type of dspex's own, an enum's base, or
`custom` for a class that only its user can give again), `x-keys`, `x-names`, `x-language`.
"""

import dataclasses
import types
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict
from uuid import UUID

import msgspec

from dspex.program.types.arguments import inlined
from dspex.program.types.base import Type
from dspex.program.types.citations import Citations, Document
from dspex.program.types.code import Code
from dspex.program.types.history import History
from dspex.program.types.media import Audio, File, Image
from dspex.program.types.reasoning import Reasoning
from dspex.program.types.tool import Tool
from dspex.program.types.tool_calls import ToolCallResults, ToolCalls
from dspex.program.values import codec, type_text

_NAMES: Mapping[Any, str] = types.MappingProxyType(
    {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", list: "array", dict: "object"}
)
_TYPES: Mapping[str, Any] = types.MappingProxyType({name: kind for kind, name in _NAMES.items()})
_FORMATS: Mapping[Any, Mapping[str, str]] = types.MappingProxyType(
    {kind: {"format": name} for kind, name in {date: "date", timedelta: "duration", UUID: "uuid"}.items()}
    | {Decimal: {"format": "decimal"}, bytes: {"contentEncoding": "base64"}}
    | {datetime: {"format": "date-time", "x-type": "datetime"}, time: {"format": "time", "x-type": "time"}}
)
_ROWS: Mapping[Any, str] = types.MappingProxyType({tuple: "tuple", set: "set", frozenset: "frozenset"})
_ENUMS: Mapping[str, Any] = types.MappingProxyType({kind.__name__: kind for kind in (Enum, IntEnum, StrEnum)})
_OWN: Mapping[str, Any] = types.MappingProxyType(
    {
        f"dspex.{kind.__name__}": kind
        for kind in (
            Audio,
            Citations,
            Code,
            Document,
            File,
            History,
            Image,
            Reasoning,
            Tool,
            ToolCallResults,
            ToolCalls,
        )
    }
)
BOUNDS: Mapping[str, str] = types.MappingProxyType(
    {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum", "multiple_of": "multipleOf"}
    | {"pattern": "pattern"}
)
_SIZES: Mapping[Any, str] = types.MappingProxyType(
    {str: "Length", dict: "Properties"} | dict.fromkeys((list, *_ROWS), "Items")
)
OPTIONS: Mapping[str, str] = types.MappingProxyType(
    {word: name for name, word in BOUNDS.items()}
    | {f"{edge}{size}": f"{edge}_length" for size in _SIZES.values() for edge in ("min", "max")}
)
LENGTHS = ("min_length", "max_length")
_CUSTOM = "custom"
_ROOTS = frozenset({Tool, Type})  # of dspex's own types, which have a form of their own in a prompt


def bounds_of(kind: Any, bounds: Mapping[str, Any]) -> dict[str, Any]:
    """Constraints of a type in JSON schema's words."""
    parts = [get_origin(arg) or arg for arg in (get_args(kind) if _is_union(kind) else (kind,))]
    size = next((_SIZES[part] for part in parts if part in _SIZES), "Length")
    return {BOUNDS.get(name) or f"{name[:3]}{size}": bound for name, bound in bounds.items()}


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


class SchemaWriter:
    """Schemas of types; classes stand in `shared()`. Those in `customs` come back only as what their user gives."""

    def __init__(self) -> None:
        self._objects: list[Any] = []
        self.customs: dict[str, Any] = {}

    def shared(self) -> dict[str, Any]:
        """The classes' schemas, by name."""
        _, plain = msgspec.json.schema_components(self._objects, ref_template="#/$defs/{name}")
        return plain | {name: _described(kind) for name, kind in self.customs.items()}

    def schema(self, kind: Any) -> dict[str, Any]:
        """The schema of a type. Raises TypeError for one that is no class and has none."""
        origin, args = get_origin(kind), get_args(kind)
        if origin is Annotated:
            bounds = {
                name: bound
                for note in args[1:]
                for name in (*BOUNDS, *LENGTHS)
                if (bound := getattr(note, name, None)) is not None
            }
            return self.schema(args[0]) | bounds_of(args[0], bounds)
        if origin is None:
            return self._of_class(kind)
        if origin is Literal:
            return {"enum": list(args)}
        if _is_union(kind):
            return {"anyOf": [self.schema(arg) for arg in args]}
        if origin in (list, set, frozenset) or args[1:] == (...,):
            marked = {"x-type": _ROWS[origin]} if origin in _ROWS else {}
            return {"type": "array", "items": self.schema(args[0]), **marked}
        if origin is tuple:
            return {"type": "array", "prefixItems": [self.schema(arg) for arg in args], "x-type": "tuple"}
        if origin is dict:
            keys = {} if args[0] is str else {"x-keys": self.schema(args[0])}
            return {"type": "object", "additionalProperties": self.schema(args[1]), **keys}
        raise TypeError(f"{type_text(kind)} has no JSON schema that says all of it")

    def _of_class(self, kind: Any) -> dict[str, Any]:
        if kind is Any or kind in _NAMES:
            return {} if kind is Any else {"type": _NAMES[kind]}
        if kind in _FORMATS:
            return {"type": "string", **_FORMATS[kind]}
        if kind in _ROWS:
            return {"type": "array", "x-type": _ROWS[kind]}
        if not isinstance(kind, type):
            raise TypeError(f"{type_text(kind)} has no JSON schema that says all of it")
        return _own(kind) or _enum(kind) or self._shared(kind)

    def _shared(self, kind: Any) -> dict[str, Any]:
        known = [*self._objects, *self.customs.values()]
        if any(other is not kind and other.__name__ == kind.__name__ for other in known):
            raise TypeError(f"two types are named {kind.__name__}")
        if kind not in known:
            self._objects.append(kind)
            if not self._says_all(kind):
                self._objects.remove(kind)
                self.customs[kind.__name__] = kind
        return {"$ref": f"#/$defs/{kind.__name__}"}

    def _says_all(self, kind: Any) -> bool:
        """Whether a class is nothing but its fields, of types that JSON schema's own words say."""
        plain = is_typeddict(kind) or dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct)
        if not plain or hasattr(kind, "__post_init__") or any(base in _ROOTS for base in kind.__mro__):
            return False
        try:
            hints = get_type_hints(kind, include_extras=True)
            within = [part for hint in hints.values() for part in _parts(self.schema(hint))]
            if any("x-type" in part or "x-keys" in part for part in within):
                return False
            again = SchemaReader(self.shared()).kind({"$ref": f"#/$defs/{kind.__name__}"})
            same_names = set(get_type_hints(again)) == set(hints)
            return same_names and msgspec.json.schema(again) == msgspec.json.schema(kind)
        except Exception:  # noqa: BLE001  whatever comes of looking into a foreign class, it is given again by its user
            return False


def _own(kind: Any) -> dict[str, Any] | None:
    if kind.__bases__ == (Code,):
        return {"x-type": "dspex.Code", "x-language": kind.language}
    name = f"dspex.{kind.__name__}"
    return {"x-type": name} if _OWN.get(name) is kind else None


def _enum(kind: Any) -> dict[str, Any] | None:
    if kind.__bases__ not in [(base,) for base in _ENUMS.values()]:
        return None
    values = [one.value for one in kind]
    if not all(type(value) in (str, int) for value in values):
        return None
    names = [one.name for one in kind]
    return {"title": kind.__name__, "enum": values, "x-names": names, "x-type": kind.__bases__[0].__name__}


def _parts(schema: Any) -> Iterable[Mapping[str, Any]]:
    if isinstance(schema, Mapping):
        yield schema
        for part in schema.values():
            yield from _parts(part)
    elif isinstance(schema, Sequence) and not isinstance(schema, str):
        for part in schema:
            yield from _parts(part)


def _described(kind: Any) -> dict[str, Any]:
    try:
        schema = inlined(codec(kind).schema)
    except Exception:  # noqa: BLE001  an input may be of a type that nothing is read for, as its own library says it
        schema = {}
    return {**schema, "x-type": _CUSTOM}


class SchemaReader:
    """Types of schemas; each object of `shared` is a class that its user gives by name, or made once, as a Struct."""

    def __init__(self, shared: Mapping[str, Any], custom_types: Mapping[str, Any] | None = None) -> None:
        self.shared = shared
        self.made: dict[str, Any] = {}
        self.custom = custom_types or {}

    def kind(self, schema: Mapping[str, Any]) -> Any:
        """The type of a schema. Raises ValueError for words that have none."""
        bounds = {OPTIONS[word]: bound for word, bound in schema.items() if word in OPTIONS}
        kind = self._bare({word: value for word, value in schema.items() if word not in OPTIONS})
        return Annotated[kind, msgspec.Meta(**bounds)] if bounds else kind

    def _bare(self, schema: Mapping[str, Any]) -> Any:
        words = frozenset(schema)
        if words == {"$ref"}:
            return self._class(schema["$ref"].removeprefix("#/$defs/"))
        if words == {"enum"}:
            return Literal[tuple(schema["enum"])]
        if words == {"anyOf"}:
            return reduce(or_, map(self.kind, schema["anyOf"]))
        if words == {"title", "enum", "x-names", "x-type"}:
            return self._enum(schema)
        if schema.get("x-type") in _OWN:
            kind = _OWN[schema["x-type"]]
            return kind[schema["x-language"]] if words == {"x-type", "x-language"} else kind
        if schema.get("type") in ("array", "object"):
            return self._of_many(schema, words - {"type", "x-type"})
        return self._simple(schema, words)

    def _of_many(self, schema: Mapping[str, Any], words: frozenset[str]) -> Any:
        if words <= {"additionalProperties", "x-keys"} and schema["type"] == "object":
            keys = self.kind(schema.get("x-keys", {"type": "string"}))
            return dict[keys, self.kind(schema["additionalProperties"])] if words else dict  # type: ignore[misc,valid-type]
        origin = {name: kind for kind, name in _ROWS.items()}[schema["x-type"]] if "x-type" in schema else list
        if words == {"prefixItems"}:
            return origin[tuple(map(self.kind, schema["prefixItems"]))]
        if words - {"items"}:
            raise ValueError(f"no type has {', '.join(sorted(words))}")
        if not words:
            return origin
        item = self.kind(schema["items"])
        return tuple[item, ...] if origin is tuple else origin[item]  # type: ignore[valid-type]  # as above

    def _simple(self, schema: Mapping[str, Any], words: frozenset[str]) -> Any:
        formatted = {word: value for word, value in schema.items() if word != "type"}
        for kind, form in _FORMATS.items():
            if form == formatted and schema.get("type") == "string":
                return kind
        if formatted:
            raise ValueError(f"no type has {', '.join(f'{word} {value!r:.40}' for word, value in formatted.items())}")
        return _TYPES[schema["type"]] if words else Any

    def _enum(self, schema: Mapping[str, Any]) -> Any:
        name, members = schema["title"], dict(zip(schema["x-names"], schema["enum"], strict=True))
        known = self.made.get(name) or self.custom.get(name)
        if known is None:
            known = self.made[name] = _ENUMS[schema["x-type"]](name, members, module="signatures")
        if {one.name: one.value for one in known} != members:
            raise ValueError(f"there is another {name!r}")
        return known

    def _class(self, name: str) -> Any:
        if name not in self.made:
            self.made[name] = self._given(name) if name in self.custom else self._struct(name)
        return self.made[name]

    def _given(self, name: str) -> Any:
        kind = self.custom[name]
        writer = SchemaWriter()
        writer.schema(kind)
        if writer.shared().get(name) != self.shared[name]:
            raise ValueError(f"custom_types has another {name!r}")
        return kind

    def _struct(self, name: str) -> Any:
        schema = self.shared[name]
        if schema.get("x-type") == _CUSTOM:
            raise ValueError(f"the class {name!r} is not in the document; give it: custom_types={{{name!r}: ...}}")
        if unknown := schema.keys() - {"title", "description", "type", "properties", "required"}:
            raise ValueError(f"{name} has {', '.join(sorted(unknown))}")
        doc = {"__doc__": schema["description"]} if "description" in schema else {}
        columns = list(self._columns(schema))
        return msgspec.defstruct(name, columns, kw_only=True, module="signatures", namespace=doc)

    def _columns(self, schema: Mapping[str, Any]) -> Iterable[Any]:
        for name, row in schema["properties"].items():
            kind = self.kind({word: value for word, value in row.items() if word != "default"})
            yield (name, kind, msgspec.convert(row["default"], kind)) if "default" in row else (name, kind)
