"""Passages and conditions in Qdrant's form, and its points in ours; plain functions."""

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dspex.plugin import BadRequest, Condition, Passage, ProtocolError, decode_json
from dspex_qdrant.options import QdrantOptions

NAMESPACE = uuid.UUID("6f0d6f6c-6473-5065-8000-7175647261ff")
# Beside text and metadata in the payload: the passage's own id, and fields whose names a path of Qdrant's cannot hold.
ID, ODD = "dspex_id", "dspex_odd"
PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+")
EXACT, LARGEST = 1 << 53, 1 << 63
LESS_IS_NEARER = {"Euclid", "Manhattan"}


class Refusal(msgspec.Struct):
    """An error, as the server tells it."""

    error: str = ""


class Refused(msgspec.Struct):
    """The body of a refused request."""

    status: Refusal


def point_id(name: str) -> str:
    """The id of a passage's point: Qdrant has numbers and UUIDs only."""
    return str(uuid.uuid5(NAMESPACE, name))


def to_point(passage: Passage, vector: "memoryview[float]", options: QdrantOptions) -> dict[str, Any]:
    """A passage as a point."""
    metadata = dict(passage.metadata)
    odd = {_hex(name): value for name, value in metadata.items() if not PLAIN_NAME.fullmatch(name)}
    payload = {ID: passage.id, options.text: passage.text, options.metadata: metadata, **({ODD: odd} if odd else {})}
    return {"id": point_id(passage.id), "vector": vector.tolist(), "payload": payload}


def to_filter(conditions: Sequence[Condition], options: QdrantOptions) -> dict[str, Any] | None:
    """Conditions as a filter; None for none."""
    if not conditions:
        return None
    return {"must": [_clause(condition, options) for condition in conditions]}


def _clause(condition: Condition, options: QdrantOptions) -> dict[str, Any]:
    name = condition.field
    key = f"{options.metadata}.{name}" if PLAIN_NAME.fullmatch(name) else f"{ODD}.{_hex(name)}"
    if condition.operator != "in":
        return _number(key, {condition.operator: condition.values[0]})
    clauses = [_equal(key, value) for value in condition.values]
    return clauses[0] if len(clauses) == 1 else {"should": clauses}


def _equal(key: str, value: Any) -> dict[str, Any]:
    match = {"key": key, "match": {"value": value}}
    if isinstance(value, (bool, str)):
        return match
    near = _number(key, {"gte": value, "lte": value})
    # A range is of floats, to which other whole numbers are equal, and itself perhaps is not.
    return {"should": [match, near]} if isinstance(value, int) and EXACT < abs(value) < LARGEST else near


def _number(key: str, bounds: Mapping[str, Any]) -> dict[str, Any]:
    # In the process True counts as 1; a server's numbers are numbers.
    booleans = [{"key": key, "match": {"value": value}} for value in (True, False)]
    return {"must": [{"key": key, "range": dict(bounds)}], "must_not": booleans}


def _hex(name: str) -> str:
    return f"h{name.encode().hex()}"


def to_passage(point: Any, options: QdrantOptions, distance: str) -> Passage:
    """A point that was found. Raises ProtocolError for what is none."""
    try:
        payload = point["payload"] or {}
        score = float(point["score"])
        text, metadata = payload.get(options.text), payload.get(options.metadata)
        return Passage(
            text if isinstance(text, str) else "",
            -score if distance in LESS_IS_NEARER else score,
            str(payload.get(ID, point["id"])),
            metadata if isinstance(metadata, dict) else {},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"Qdrant's reply holds no point, but {point!r:.120}.", provider="qdrant") from error


def refusal(status: int, body: bytes) -> BadRequest | None:
    """What the server says is wrong with a request, if it does."""
    try:
        said = decode_json(body, Refused).status.error
    except ProtocolError:
        return None
    if status not in {400, 404, 409, 413, 422} or not said:
        return None
    return BadRequest(f"Qdrant refuses the request ({status}): {said[:500]}", status=status)
