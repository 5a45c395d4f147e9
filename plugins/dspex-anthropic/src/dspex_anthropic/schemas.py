"""JSON schemas: what the API's own output format takes, and the tool that stands in for it; plain functions."""

from collections.abc import Iterator, Mapping
from typing import Any

REPLY_TOOL = "reply_in_this_form"
_REPLY_WORDS = "Give the whole reply by one call of this tool, and nothing beside it."

_KEPT = frozenset(
    {"$defs", "$ref", "additionalProperties", "allOf", "anyOf", "const", "description", "enum", "format", "items",
     "properties", "required", "title", "type"}
)  # fmt: skip
# Refused by the API. Who reads the reply checks them anyway, so they may go.
_LEFT_OUT = frozenset(
    {"default", "exclusiveMaximum", "exclusiveMinimum", "maxItems", "maxLength", "maximum", "minItems", "minLength",
     "minimum", "multipleOf", "pattern", "uniqueItems"}
)  # fmt: skip
_FORMATS = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"}
)  # fmt: skip


def fits_format(schema: Mapping[str, Any]) -> bool:
    """Whether the API can hold a reply to a schema: known words, closed objects, and nothing that contains itself."""
    return _is_plain(schema) and not _contains_itself(schema)


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that `fits_format`, as the API takes it."""
    made = {word: value for word, value in schema.items() if word in _KEPT}
    for word in made.keys() & {"properties", "$defs"}:
        made[word] = {name: closed(part) for name, part in made[word].items()}
    for word in made.keys() & {"anyOf", "allOf"}:
        made[word] = [closed(part) for part in made[word]]
    if "items" in made:
        made["items"] = closed(made["items"])
    if made.get("format", "date") not in _FORMATS:
        del made["format"]
    return made | ({"additionalProperties": False} if "properties" in made else {})


def reply_tool(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A tool whose arguments are the reply."""
    return {"name": REPLY_TOOL, "description": _REPLY_WORDS, "input_schema": schema}


def _is_plain(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    is_open = schema.get("type") == "object" and "properties" not in schema
    is_closed = schema.get("additionalProperties", False) is False
    known = schema.keys() <= _KEPT | _LEFT_OUT
    return not is_open and is_closed and known and all(map(_is_plain, _parts(schema)))


def _parts(schema: Mapping[str, Any]) -> Iterator[Any]:
    for word in ("properties", "$defs"):
        yield from schema.get(word, {}).values()
    for word in ("anyOf", "allOf"):
        yield from schema.get(word, ())
    if "items" in schema:
        yield schema["items"]


def _contains_itself(schema: Mapping[str, Any]) -> bool:
    named: Mapping[str, Any] = schema.get("$defs", {})
    uses = {name: set(_uses(part)) for name, part in named.items()}
    for _ in named:  # a chain of uses is no longer than there are names
        uses = {name: found.union(*(uses.get(one, ()) for one in found)) for name, found in uses.items()}
    return any(name in found for name, found in uses.items()) or "" in _uses(schema)


def _uses(schema: Mapping[str, Any]) -> Iterator[str]:
    """Names of the definitions that a schema refers to; empty for one that is not among `$defs`."""
    if "$ref" in schema:
        place, _, name = str(schema["$ref"]).rpartition("/")
        yield name if place == "#/$defs" else ""
    for part in _parts(schema):
        yield from _uses(part)
