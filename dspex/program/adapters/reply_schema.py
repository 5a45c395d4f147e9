"""The JSON schema that a provider can hold a reply to, for signatures whose outputs leave nothing open.

It has no more than strict modes take: objects are closed, all outputs are required (one that may be absent may be
null), choices have a type.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from dspex.program.compiled import CompiledSignature

_FORMATS = frozenset({"date-time", "date", "time", "uuid"})
_LEFT_OUT = frozenset({"$defs", "default", "discriminator", "description", "title"})
_JSON_TYPES: Mapping[Any, str] = MappingProxyType(
    {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
)


class ReplySchema(msgspec.Struct, frozen=True):
    """A schema, or None and in words why there is none."""

    schema: Mapping[str, Any] | None
    fault: str = ""


def reply_schema(compiled: CompiledSignature) -> ReplySchema:
    """The schema of a signature's outputs as one object; made once."""
    made: ReplySchema | None = compiled.templates.get("reply schema")
    if made is None:
        made = compiled.templates["reply schema"] = _made(compiled)
    return made


def _made(compiled: CompiledSignature) -> ReplySchema:
    properties: dict[str, Any] = {}
    shared: dict[str, Any] = {}
    for field in compiled.outputs:
        try:
            schema = _closed(field.schema, shared)
        except ValueError as error:
            return ReplySchema(None, f"the type of `{field.name}`, {field.type_text}, {error}")
        nullable = field.required or {"type": "null"} in schema.get("anyOf", ())
        properties[field.name] = schema if nullable else {"anyOf": [schema, {"type": "null"}]}
    try:
        definitions = {name: _closed(definition, {}) for name, definition in shared.items()}
    except ValueError as error:
        return ReplySchema(None, f"a type in it {error}")
    whole = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    return ReplySchema(whole | ({"$defs": definitions} if definitions else {}))


def _closed(schema: Any, shared: dict[str, Any]) -> dict[str, Any]:
    """The schema as strict modes take it; definitions go to `shared` as they are. Raises ValueError for what has none."""
    if not isinstance(schema, Mapping) or not schema:
        raise ValueError("may be anything")
    for name, definition in schema.get("$defs", {}).items():
        if shared.setdefault(name, definition) != definition:
            raise ValueError(f"has another {name!r} than a type before it")
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    made = {word: value for word, value in schema.items() if word not in _LEFT_OUT}
    if "enum" in made or "const" in made:
        return _choices(made.get("enum", [made.get("const")]))
    if made.get("format") not in _FORMATS:
        made.pop("format", None)
    if re.search(r"\(\?|\\\d", made.get("pattern", "")):  # more than a regular language; decoding checks it
        del made["pattern"]
    if made.get("type") == "object":
        return _object(made, shared)
    if members := made.pop("anyOf", None) or made.pop("oneOf", None):
        made["anyOf"] = [_closed(member, shared) for member in members]
    if isinstance(made.get("items"), Mapping) or made.get("type") == "array":
        made |= _items(made, shared)
    return made


def _object(schema: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    if "properties" not in schema or schema.get("additionalProperties", False) is not False:
        raise ValueError("has keys that the signature does not name")
    properties = {name: _closed(part, shared) for name, part in schema["properties"].items()}
    return schema | {"properties": properties, "additionalProperties": False}


def _items(schema: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    if "prefixItems" in schema:
        return {"prefixItems": [_closed(part, shared) for part in schema["prefixItems"]]}
    return {"items": _closed(schema.get("items"), shared)}


def _choices(values: Iterable[Any]) -> dict[str, Any]:
    by_type: dict[str, list[Any]] = {}
    for value in values:
        if type(value) not in _JSON_TYPES:
            raise ValueError(f"has the choice {value!r}, which is no JSON")
        by_type.setdefault(_JSON_TYPES[type(value)], []).append(value)
    members = [{"type": kind, "enum": of_kind} for kind, of_kind in by_type.items()]
    return members[0] if len(members) == 1 else {"anyOf": members}
