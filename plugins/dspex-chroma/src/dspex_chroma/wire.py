"""Passages and conditions in Chroma's form, and its replies in ours; plain functions."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dspex.plugin import BadRequest, Condition, Passage, ProtocolError, decode_json

# Where the whole metadata stands, as JSON: Chroma itself keeps texts, numbers and booleans only.
WHOLE = "~metadata"
# Names that begin so Chroma refuses, or keeps for itself; `~` marks those that are written in another way.
TAKEN = ("$", "#", "chroma:", "~")
LARGEST = (1 << 63) - 1  # of the whole numbers that Chroma has
RANGES = {"gt": "$gt", "gte": "$gte", "lt": "$lt", "lte": "$lte"}

REFUSED = {400, 404, 409, 413, 422}
SHOWN = 500

_encoder = msgspec.json.Encoder()


class Found(msgspec.Struct):
    """The reply to a query: a list a query."""

    ids: list[list[str]]
    documents: list[list[str | None]]
    metadatas: list[list[dict[str, Any] | None]]
    distances: list[list[float | None]]


class There(msgspec.Struct):
    """The reply to a look at passages."""

    ids: list[str]
    metadatas: list[dict[str, Any] | None]


class Space(msgspec.Struct):
    """How a collection measures."""

    space: str = "l2"


class Configuration(msgspec.Struct):
    """What a collection is made with, as far as it matters here."""

    hnsw: Space | None = None
    spann: Space | None = None


class Collection(msgspec.Struct):
    """A collection, as the server tells it."""

    id: str
    configuration_json: Configuration = msgspec.field(default_factory=Configuration)

    @property
    def space(self) -> str:
        """How it measures."""
        return (self.configuration_json.hnsw or self.configuration_json.spann or Space()).space


class Refusal(msgspec.Struct):
    """An error, as the server tells it."""

    error: str = ""
    message: str = ""


def field_name(name: str) -> str:
    """A field as Chroma takes it."""
    return f"~{name}" if not name or name.startswith(TAKEN) else name


def to_metadata(passage: Passage) -> dict[str, Any]:
    """Metadata that Chroma can compare, and the whole."""
    whole = _encoder.encode(dict(passage.metadata)).decode()
    plain = {field_name(name): value for name, value in passage.metadata.items() if _is_scalar(value)}
    return {**plain, WHOLE: whole}


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (str, bool, float)) or (isinstance(value, int) and -LARGEST <= value <= LARGEST)


def to_where(conditions: Sequence[Condition]) -> dict[str, Any] | None:
    """Conditions as a filter; None for none."""
    clauses = [_clause(condition) for condition in conditions]
    if not clauses:
        return None
    return clauses[0] if len(clauses) == 1 else {"$and": clauses}


def _clause(condition: Condition) -> dict[str, Any]:
    name = field_name(condition.field)
    if any(isinstance(value, int) and value > LARGEST for value in condition.values):
        return _beyond(name, condition)
    if condition.operator != "in":
        return {name: {RANGES[condition.operator]: condition.values[0]}}
    # One by one: a list holds values of one kind only.
    equal = [{name: {"$eq": value}} for value in condition.values]
    return equal[0] if len(equal) == 1 else {"$or": equal}


def _beyond(name: str, condition: Condition) -> dict[str, Any]:
    # No number that is there is one of these, or above them.
    if condition.operator in {"lt", "lte"}:
        return {name: {"$lte": LARGEST}}
    smaller = [value for value in condition.values if not isinstance(value, int) or value <= LARGEST]
    if condition.operator == "in" and smaller:
        return _clause(Condition(condition.field, "in", tuple(smaller)))
    return {"$and": [{name: {"$eq": "0"}}, {name: {"$eq": "1"}}]}


def to_passages(body: bytes, space: str) -> list[list[Passage]]:
    """The passages of a reply. Raises ProtocolError for what is none."""
    found = decode_json(body, Found)
    try:
        columns = zip(found.ids, found.documents, found.metadatas, found.distances, strict=True)
        return [[_passage(*row, space) for row in zip(*lists, strict=True)] for lists in columns]
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"Chroma's reply is none to a query: {error}.", provider="chroma") from error


def to_fields(body: bytes) -> dict[str, set[str]]:
    """The fields that the passages of a reply have, by id. Raises ProtocolError for what is none."""
    there = decode_json(body, There)
    try:
        return {name: set(fields or ()) for name, fields in zip(there.ids, there.metadatas, strict=True)}
    except ValueError as error:
        raise ProtocolError(f"Chroma's reply is none to a look: {error}.", provider="chroma") from error


def _passage(
    name: str, text: str | None, metadata: Mapping[str, Any] | None, distance: float | None, space: str
) -> Passage:
    plain = dict(metadata or {})
    whole = plain.get(WHOLE)
    # Of what others have put there, all that Chroma keeps.
    kept = msgspec.json.decode(whole) if isinstance(whole, str) else plain
    far = distance or 0.0
    return Passage(text or "", -far if space == "l2" else 1.0 - far, name, kept)


def to_collection(body: bytes) -> Collection:
    """A collection of a reply. Raises ProtocolError for what is none."""
    return decode_json(body, Collection)


def refusal(status: int, body: bytes) -> BadRequest | None:
    """What the server says is wrong with a request, if it does."""
    if status not in REFUSED:
        return None
    try:
        said = decode_json(body, Refusal).message
    except ProtocolError:
        return None
    return BadRequest(f"Chroma refuses the request ({status}): {said[:SHOWN]}", status=status) if said else None
