"""A signature as one JSON document: a JSON schema of its fields, with their roles; and back, importing nothing.

Besides JSON schema's own words a field has `x-role` (input or output) and, if it was given one, `x-prefix`. The document's
`title` is the signature's name, its `description` the instructions if they were given.
"""

import dataclasses
import types
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, Union, get_args, get_origin, is_typeddict

import msgspec

from dspex.core.errors import ProgramFileError, SignatureTypeError
from dspex.program.compiled import CompiledSignature, compile_signature
from dspex.program.fields import FieldInfo, field, name_fault
from dspex.program.values import type_text

VERSION = 1

_FAULTS = (KeyError, TypeError, ValueError, AttributeError, RecursionError)

_NAMES: Mapping[Any, str] = types.MappingProxyType(
    {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", list: "array", dict: "object"}
)
_TYPES: Mapping[str, Any] = types.MappingProxyType({name: kind for kind, name in _NAMES.items()})
_BOUNDS: Mapping[str, str] = types.MappingProxyType(
    {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum", "multiple_of": "multipleOf"}
    | {"pattern": "pattern"}
)
_SIZES: Mapping[Any, str] = types.MappingProxyType({str: "Length", list: "Items", dict: "Properties"})
_OPTIONS: Mapping[str, str] = types.MappingProxyType(
    {word: name for name, word in _BOUNDS.items()}
    | {f"{edge}{size}": f"{edge}_length" for size in _SIZES.values() for edge in ("min", "max")}
)
_FACTORIES: Mapping[Callable[[], Any], Any] = types.MappingProxyType({list: (), dict: types.MappingProxyType({})})


def to_document(name: str, compiled: CompiledSignature) -> dict[str, Any]:
    """The document of a signature. Raises SignatureTypeError that names the field which it cannot hold."""
    objects: list[Any] = []
    properties = {one.name: _of_field(one, objects) for one in compiled.fields.values()}
    _, shared = msgspec.json.schema_components(objects, ref_template="#/$defs/{name}")
    told = {} if compiled.given_instructions is None else {"description": compiled.given_instructions}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "x-dspex-version": VERSION,
        "title": name,
        **told,
        "type": "object",
        "properties": properties,
        "required": [one.name for one in compiled.fields.values() if one.required],
        **({"$defs": shared} if shared else {}),
    }
    reader = _Reader(shared)
    for one in compiled.fields.values():
        _prove(one, properties[one.name], reader)
    return document


def from_document(document: Mapping[str, Any]) -> tuple[str, CompiledSignature]:
    """Name and compiled form of the signature in a document. Raises ProgramFileError for what is none, or a newer one."""
    try:
        if document["x-dspex-version"] != VERSION:
            raise ValueError(f"it has version {document['x-dspex-version']!r}, this dspex reads {VERSION}")
        reader = _Reader(document.get("$defs", {}))
        fields = [_to_field(name, row, reader) for name, row in document["properties"].items()]
        return str(document["title"]), compile_signature(fields, document.get("description"))
    except _FAULTS as error:
        raise ProgramFileError(f"This is no document of a signature: {error!r}.") from error


def facts(one: FieldInfo) -> tuple[Any, ...]:
    """What equal fields have in common, beside the prompt's words for them."""
    return one.type_text, dict(one.schema), one.constraints, one.choices, one.required, repr(one.default)


def _prove(one: FieldInfo, row: Mapping[str, Any], reader: "_Reader") -> None:
    """What comes back must be what went in; the classes of objects are made anew, with the same fields."""
    try:
        again = _to_field(one.name, msgspec.json.decode(msgspec.json.encode(row)), reader).ready()
    except _FAULTS as error:
        raise _unfit(one, str(error)) from error
    if facts(again) != facts(one):
        raise _unfit(one, "it would come back as another type")


# Writing


def _of_field(one: FieldInfo, objects: list[Any]) -> dict[str, Any]:
    try:
        row = _schema(one.annotation, objects)
        bounds = {name: bound for name, bound in one.options.items() if name in (*_BOUNDS, "min_length", "max_length")}
        row |= _words(one.annotation, bounds)
        if one.default is not msgspec.UNSET:
            row["default"] = msgspec.to_builtins(one.default)
        if one.default_factory is not None:
            row["default"] = _FACTORIES[one.default_factory]
    except (TypeError, ValueError, KeyError) as error:
        raise _unfit(one, str(error)) from error
    row |= {"description": one.desc} if one.desc else {}
    row["x-role"] = one.role
    return row | ({} if one.given_prefix is None else {"x-prefix": one.given_prefix})


def _schema(kind: Any, objects: list[Any]) -> dict[str, Any]:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        bounds = [
            (name, bound)
            for note in args[1:]
            for name in (*_BOUNDS, "min_length", "max_length")
            if (bound := getattr(note, name, None)) is not None
        ]
        return _schema(args[0], objects) | _words(args[0], dict(bounds))
    if kind is Any or kind in _NAMES:
        return {} if kind is Any else {"type": _NAMES[kind]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(arg, objects) for arg in args]}
    if origin is list:
        return {"type": "array", "items": _schema(args[0], objects)}
    if origin is dict and args[0] is str:
        return {"type": "object", "additionalProperties": _schema(args[1], objects)}
    if any(known is not kind and known.__name__ == kind.__name__ for known in objects):
        raise TypeError(f"two types are named {kind.__name__}")
    if not _is_object(kind):
        raise TypeError(f"{type_text(kind)} has no JSON schema that says all of it")
    objects.append(kind)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _is_object(kind: Any) -> bool:
    """Whether a class is nothing but its fields. dspex's own types also have a form of their own in a prompt."""
    plain = is_typeddict(kind) or dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct)
    return plain and not any(base.__module__.startswith("dspex.") for base in kind.__mro__)


def _words(kind: Any, bounds: Mapping[str, Any]) -> dict[str, Any]:
    parts = [get_origin(arg) or arg for arg in (get_args(kind) if _is_union(kind) else (kind,))]
    size = next((_SIZES[part] for part in parts if part in _SIZES), "Length")
    return {_BOUNDS.get(name) or f"{name[:3]}{size}": bound for name, bound in bounds.items()}


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _unfit(one: FieldInfo, why: str) -> SignatureTypeError:
    return SignatureTypeError(f"Field {one.name!r} of type {one.type_text} cannot be written as JSON schema: {why}.")


# Reading


def _to_field(name: str, row: Mapping[str, Any], reader: "_Reader") -> FieldInfo:
    if fault := name_fault(name):
        raise ValueError(fault)
    options = {_OPTIONS[word]: bound for word, bound in row.items() if word in _OPTIONS}
    kind = reader.kind({word: value for word, value in row.items() if word not in {*_OPTIONS, *_ABOUT}})
    if "default" in row:
        empty = row["default"] in ([], {}) and type(row["default"])
        options |= {"default_factory": empty} if empty else {"default": msgspec.convert(row["default"], kind)}
    if row["x-role"] not in ("input", "output"):
        raise ValueError(f"field {name!r} is neither input nor output")
    made = field(row["x-role"], desc=row.get("description"), prefix=row.get("x-prefix"), **options)
    return made.bound(name, kind)


_ABOUT = frozenset({"description", "default", "x-role", "x-prefix"})


class _Reader:
    """Types of schemas; each object of `$defs` is made once, as a Struct."""

    def __init__(self, shared: Mapping[str, Any]) -> None:
        self.shared = shared
        self.made: dict[str, Any] = {}

    def kind(self, schema: Mapping[str, Any]) -> Any:
        """The type of a schema. Raises ValueError for words that have none."""
        bounds = {_OPTIONS[word]: bound for word, bound in schema.items() if word in _OPTIONS}
        bare = {word: value for word, value in schema.items() if word not in _OPTIONS}
        kind = self._bare(bare)
        return Annotated[kind, msgspec.Meta(**bounds)] if bounds else kind

    def _bare(self, schema: Mapping[str, Any]) -> Any:
        words = frozenset(schema)
        if words == {"$ref"}:
            return self._object(schema["$ref"].removeprefix("#/$defs/"))
        if words == {"enum"}:
            return Literal[tuple(schema["enum"])]
        if words == {"anyOf"}:
            return reduce(or_, map(self.kind, schema["anyOf"]))
        if words == {"type", "items"}:
            return list[self.kind(schema["items"])]  # type: ignore[misc]  # a type made at run time
        if words == {"type", "additionalProperties"}:
            return dict[str, self.kind(schema["additionalProperties"])]  # type: ignore[misc]  # as above
        if words - {"type"}:
            raise ValueError(f"no type has {', '.join(sorted(words))}")
        return _TYPES[schema["type"]] if words else Any

    def _object(self, name: str) -> Any:
        if name not in self.made:
            schema = self.shared[name]
            if unknown := schema.keys() - {"title", "description", "type", "properties", "required"}:
                raise ValueError(f"{name} has {', '.join(sorted(unknown))}")
            columns = list(self._columns(schema))
            doc = {"__doc__": schema["description"]} if "description" in schema else {}
            self.made[name] = msgspec.defstruct(name, columns, kw_only=True, module="signatures", namespace=doc)
        return self.made[name]

    def _columns(self, schema: Mapping[str, Any]) -> Iterable[Any]:
        for name, row in schema["properties"].items():
            kind = self.kind({word: value for word, value in row.items() if word != "default"})
            yield (name, kind, msgspec.convert(row["default"], kind)) if "default" in row else (name, kind)
