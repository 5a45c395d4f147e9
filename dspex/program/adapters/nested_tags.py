"""A value of structure that a model wrote in tags, `<name>Ada</name><age>36</age>`, as data of its JSON schema."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

NULLS = ("", "null", "None")


def read_tags(text: str, schema: Mapping[str, Any]) -> Any:
    """The data, texts at the leaves; None if it is no markup. Raises ValueError for a tag that is there twice."""
    if "<!" in text or "<?" in text:  # a document type may hold entities that grow
        return None
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(f"<value>{text}</value>")  # noqa: S314  no document type, no entities
        return _data(root, schema, schema.get("$defs", {}))
    except (ElementTree.ParseError, RecursionError):
        return None


def _data(element: "Element[str]", schema: Mapping[str, Any], shared: Mapping[str, Any]) -> Any:
    schema = _fitting(element, schema, shared)
    children = list(element)
    text = (element.text or "").strip()
    if schema.get("type") == "array" and not _is_prose(text):
        item = resolved(schema.get("items") or {}, shared)
        # One item by itself, as more would be by further tags of this name.
        if text or (children and {child.tag for child in children} <= item.get("properties", {}).keys()):
            return [_data(element, item, shared)]
        return [_data(child, item, shared) for child in children]
    if not children:
        return None if schema.get("type") == "null" and text in NULLS else text
    properties = schema.get("properties", {})
    if len(children) == 1 and properties and children[0].tag not in properties:
        return _data(children[0], schema, shared)  # a wrapper, mostly of the type's name
    return _object(children, schema, shared)


def _is_prose(text: str) -> bool:
    """Whether it may be several items, or words for none."""
    return "," in text or "\n" in text or text.casefold() in ("null", "none", "n/a") or text[:1] in ("[", "-", "*")


def _object(children: "list[Element[str]]", schema: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    others = schema.get("additionalProperties")
    for child in children:
        wanted = schema.get("properties", {}).get(child.tag, others if isinstance(others, dict) else {})
        one = resolved(wanted, shared)
        repeated = one.get("type") == "array" and sum(other.tag == child.tag for other in children) > 1
        if repeated:
            made.setdefault(child.tag, []).append(_data(child, one.get("items") or {}, shared))
        elif child.tag in made:
            raise ValueError(f"`<{child.tag}>` is there twice")
        else:
            made[child.tag] = _data(child, wanted, shared)
    return made


def resolved(schema: Any, shared: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a schema refers to among the shared ones, or itself."""
    if not isinstance(schema, Mapping):
        return {}
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return shared.get(name, {}) if name else schema


def _fitting(element: "Element[str]", schema: Mapping[str, Any], shared: Mapping[str, Any]) -> Mapping[str, Any]:
    """The member of a union that has all tags of the element, else its first member of that shape."""
    schema = resolved(schema, shared)
    members = [resolved(member, shared) for member in schema.get("anyOf", ())]
    if not members:
        return schema
    tags = {child.tag for child in element}
    if not tags:
        empty = (element.text or "").strip() in NULLS
        plain = [
            one
            for one in members
            if (one.get("type") == "null") == empty and one.get("type") not in ("object", "array")
        ]
        return (plain or members)[0]
    shaped = [one for one in members if "properties" in one and tags <= one["properties"].keys()]
    return (shaped or [one for one in members if one.get("type") in ("object", "array")] or members)[0]
