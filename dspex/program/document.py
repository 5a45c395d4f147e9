"""A signature as one JSON document: a JSON schema of its fields, with their roles; and back, importing nothing.

Besides JSON schema's own words a field has `x-role` (input or output) and, if it was given one, `x-prefix`. The document's
`title` is the signature's name, its `description` the instructions if they were given.
"""

import types
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from dspex.core.errors import ProgramFileError, SignatureTypeError
from dspex.program.compiled import CompiledSignature, compile_signature
from dspex.program.fields import FieldInfo, field, name_fault
from dspex.program.type_schemas import BOUNDS, LENGTHS, OPTIONS, SchemaReader, SchemaWriter, bounds_of
from dspex.program.values import converter, to_plain

VERSION = 1

_FAULTS = (KeyError, TypeError, ValueError, AttributeError, RecursionError)

_FACTORIES: Mapping[Callable[[], Any], Any] = types.MappingProxyType({list: (), dict: types.MappingProxyType({})})


def to_document(name: str, compiled: CompiledSignature) -> dict[str, Any]:
    """The document of a signature. Raises SignatureTypeError that names the field which it cannot hold."""
    writer = SchemaWriter()
    properties = {one.name: _of_field(one, writer) for one in compiled.fields.values()}
    shared = writer.shared()
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
    reader = SchemaReader(shared, writer.customs)
    for one in compiled.fields.values():
        _prove(one, properties[one.name], reader)
    return document


def from_document(
    document: Mapping[str, Any], custom_types: Mapping[str, Any] | None = None
) -> tuple[str, CompiledSignature]:
    """Name and compiled form of the signature in a document; `custom_types` are classes by their names in it.

    Raises ProgramFileError for what is no document, a newer one, or one of a class that is not given.
    """
    try:
        if document["x-dspex-version"] != VERSION:
            raise ValueError(f"it has version {document['x-dspex-version']!r}, this dspex reads {VERSION}")
        reader = SchemaReader(document.get("$defs", {}), custom_types)
        fields = [_to_field(name, row, reader) for name, row in document["properties"].items()]
        return str(document["title"]), compile_signature(fields, document.get("description"))
    except _FAULTS as error:
        raise ProgramFileError(f"This is no document of a signature: {error!r}.") from error


def facts(one: FieldInfo) -> tuple[Any, ...]:
    """What equal fields have in common, beside the prompt's words for them."""
    return one.type_text, dict(one.schema), one.constraints, one.choices, one.required, repr(one.default)


def _prove(one: FieldInfo, row: Mapping[str, Any], reader: SchemaReader) -> None:
    """What comes back must be what went in; the classes of objects are made anew, with the same fields."""
    try:
        again = _to_field(one.name, msgspec.json.decode(msgspec.json.encode(row)), reader).ready()
    except _FAULTS as error:
        raise _unfit(one, str(error)) from error
    if facts(again) != facts(one):
        raise _unfit(one, "it would come back as another type")


# Writing


def _of_field(one: FieldInfo, writer: SchemaWriter) -> dict[str, Any]:
    try:
        row = writer.schema(one.annotation)
        bounds = {name: bound for name, bound in one.options.items() if name in (*BOUNDS, *LENGTHS)}
        row |= bounds_of(one.annotation, bounds)
        if one.default is not msgspec.UNSET:
            row["default"] = msgspec.to_builtins(one.default, enc_hook=to_plain)
        if one.default_factory is not None:
            row["default"] = _FACTORIES[one.default_factory]
    except (TypeError, ValueError, KeyError) as error:
        raise _unfit(one, str(error)) from error
    row |= {"description": one.desc} if one.desc else {}
    row["x-role"] = one.role
    return row | ({} if one.given_prefix is None else {"x-prefix": one.given_prefix})


def _unfit(one: FieldInfo, why: str) -> SignatureTypeError:
    return SignatureTypeError(f"Field {one.name!r} of type {one.type_text} cannot be written as JSON schema: {why}.")


# Reading


def _to_field(name: str, row: Mapping[str, Any], reader: SchemaReader) -> FieldInfo:
    if fault := name_fault(name):
        raise ValueError(fault)
    options = {OPTIONS[word]: bound for word, bound in row.items() if word in OPTIONS}
    kind = reader.kind({word: value for word, value in row.items() if word not in {*OPTIONS, *_ABOUT}})
    if "default" in row:
        empty = row["default"] in ([], {}) and type(row["default"])
        options |= {"default_factory": empty} if empty else {"default": converter(kind)(row["default"])}
    if row["x-role"] not in ("input", "output"):
        raise ValueError(f"field {name!r} is neither input nor output")
    made = field(row["x-role"], desc=row.get("description"), prefix=row.get("x-prefix"), **options)
    return made.bound(name, kind)


_ABOUT = frozenset({"description", "default", "x-role", "x-prefix"})
