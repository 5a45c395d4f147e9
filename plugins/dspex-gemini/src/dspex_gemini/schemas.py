"""JSON schemas as the Gemini API reads them; plain functions."""

from collections.abc import Mapping
from typing import Any

from dspex.plugin import BadRequest

DEEPEST = 32
REPLY_TOOL = "reply_in_this_form"
_REPLY_WORDS = "Give the whole reply by one call of this function, and nothing beside it."

_JSON = frozenset(
    {"$anchor", "$defs", "$id", "$ref", "additionalProperties", "anyOf", "description", "enum", "format", "items", "maxItems",
     "maximum", "minItems", "minimum", "oneOf", "prefixItems", "properties", "required", "title", "type"}
)  # fmt: skip
_OPENAPI = frozenset(
    {"anyOf", "description", "enum", "format", "items", "maxItems", "maximum", "minItems", "minimum", "nullable", "properties",
     "required", "title", "type"}
)  # fmt: skip
_OPENAPI_FORMATS = frozenset({"date-time", "double", "enum", "float", "int32", "int64"})


def as_json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without words that the API refuses; who reads the reply checks them anyway."""
    made = {word: value for word, value in _without_const(schema).items() if word in _JSON}
    for word in made.keys() & {"properties", "$defs"}:
        made[word] = {name: as_json_schema(part) for name, part in made[word].items()}
    for word in made.keys() & {"anyOf", "oneOf", "prefixItems"}:
        made[word] = [as_json_schema(part) for part in made[word]]
    for word in made.keys() & {"items", "additionalProperties"}:
        if isinstance(made[word], Mapping):
            made[word] = as_json_schema(made[word])
    return made


def reply_tool(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A function whose arguments are the reply, for models that take tools or a schema, but not both."""
    return {"name": REPLY_TOOL, "description": _REPLY_WORDS, "parametersJsonSchema": as_json_schema(schema)}


def as_openapi(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema in the form of OpenAPI 3.0, definitions put where they are used.

    Raises BadRequest for one that contains itself, or refers to another document.
    """
    return _opened(schema, schema.get("$defs", {}), 0)


def _opened(schema: Mapping[str, Any], defs: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if depth > DEEPEST:
        raise BadRequest("A schema that contains itself can not be sent in OpenAPI's form (capability: json_schema).")
    if "$ref" in schema:
        place, _, name = str(schema["$ref"]).rpartition("/")
        if place != "#/$defs" or name not in defs:
            raise BadRequest(f"The schema refers to {schema['$ref']!r}, which is not in it (capability: json_schema).")
        return _opened({**defs[name], **{word: schema[word] for word in schema if word != "$ref"}}, defs, depth + 1)
    made = {word: value for word, value in _without_const(_nullable(schema)).items() if word in _OPENAPI}
    if "properties" in made:
        made["properties"] = {name: _opened(part, defs, depth + 1) for name, part in made["properties"].items()}
    if "anyOf" in made:
        made["anyOf"] = [_opened(part, defs, depth + 1) for part in made["anyOf"]]
    if isinstance(made.get("items"), Mapping):
        made["items"] = _opened(made["items"], defs, depth + 1)
    if made.get("format", "enum") not in _OPENAPI_FORMATS:
        del made["format"]
    return made


def _without_const(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**schema, "enum": [schema["const"]]} if "const" in schema else schema


def _nullable(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """OpenAPI 3.0 has no type "null"."""
    kinds, others = schema.get("type"), schema.get("anyOf")
    if isinstance(kinds, list):
        left = [kind for kind in kinds if kind != "null"]
        typed = {"type": left[0]} if len(left) == 1 else {"anyOf": [{"type": kind} for kind in left]}
        rest = {word: value for word, value in schema.items() if word != "type"}
        return {**rest, **typed, **({"nullable": True} if "null" in kinds else {})}
    if isinstance(others, list) and {"type": "null"} in others:
        left = [part for part in others if part != {"type": "null"}]
        rest = {word: value for word, value in schema.items() if word != "anyOf"}
        return {**rest, **(left[0] if len(left) == 1 else {"anyOf": left}), "nullable": True}
    return schema
