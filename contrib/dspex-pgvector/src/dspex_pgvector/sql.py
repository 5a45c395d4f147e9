"""Statements, and passages of their rows; plain functions. The table's name is checked, all else goes as parameters."""

from collections.abc import Sequence
from math import isnan
from typing import Any

import msgspec

from dspex.plugin import Condition, InputError, Passage
from dspex_pgvector.options import PgvectorOptions

OPERATORS = {"cosine": "<=>", "l2": "<->", "dot": "<#>"}
COMPARED = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

LOCK = "SELECT pg_advisory_xact_lock(hashtext($1))"
EXTENSION = "CREATE EXTENSION IF NOT EXISTS vector"
# Where the table has one, its column's modifier is the length of its vectors.
SIZE = "SELECT atttypmod FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'vector'"

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict[str, Any])


def create(table: str, size: int) -> str:
    """Makes the table; `whole` is the metadata as it was, whose order and numbers jsonb does not keep."""
    return (
        f'CREATE TABLE IF NOT EXISTS "{table}" (id text PRIMARY KEY, text text NOT NULL, metadata jsonb NOT NULL, '
        f"whole text NOT NULL, vector vector({size}) NOT NULL)"
    )


def upsert(table: str) -> str:
    """Puts one passage in."""
    return (
        f'INSERT INTO "{table}" (id, text, metadata, whole, vector) '  # noqa: S608  the name is checked
        "VALUES ($1, $2, $3::text::jsonb, $3::text, $4::text::vector) ON CONFLICT (id) DO UPDATE SET "
        "text = excluded.text, metadata = excluded.metadata, whole = excluded.whole, vector = excluded.vector"
    )


def delete(table: str) -> str:
    """Takes passages out."""
    return f'DELETE FROM "{table}" WHERE id = ANY($1::text[])'  # noqa: S608  as above


def search(options: PgvectorOptions, conditions: Sequence[Condition]) -> tuple[str, list[Any]]:
    """The best of several queries at a time ($1, as texts; $2 of each), and its further parameters."""
    parameters: list[Any] = []
    clauses = [_clause(condition, parameters) for condition in conditions]
    where = f"WHERE {' AND '.join(clauses)}" if clauses else ""
    nearest = (
        f"SELECT id, text, whole, vector {OPERATORS[options.distance]} asked.vector::vector AS distance "  # noqa: S608  the name is checked
        f'FROM "{options.collection}" {where} ORDER BY distance LIMIT $2'
    )
    statement = (
        f"SELECT asked.place, found.* FROM unnest($1::text[]) WITH ORDINALITY AS asked (vector, place) "  # noqa: S608  as above
        f"CROSS JOIN LATERAL ({nearest}) AS found ORDER BY asked.place, found.distance"
    )
    return statement, parameters


def _clause(condition: Condition, parameters: list[Any]) -> str:
    field = f"metadata -> ${len(parameters) + 3}::text"
    value = f"${len(parameters) + 4}"
    if condition.operator == "in":
        parameters += [condition.field, [_encoder.encode(one).decode() for one in condition.values]]
        return f"{field} = ANY({value}::text[]::jsonb[])"
    parameters += [condition.field, repr(condition.values[0])]
    compared = f"({field})::numeric {COMPARED[condition.operator]} {value}::text::numeric"
    return f"CASE WHEN jsonb_typeof({field}) = 'number' THEN {compared} ELSE false END"


def to_row(passage: Passage, vector: "memoryview[float]") -> tuple[str, str, str, str]:
    """The parameters of `upsert`. Raises InputError for what PostgreSQL cannot hold."""
    whole = _encoder.encode(dict(passage.metadata)).decode()
    if "\0" in passage.text + passage.id or "\\u0000" in whole:
        raise InputError(f"Passage {passage.id!r:.60} has a NUL, which PostgreSQL cannot hold.")
    return passage.id, passage.text, whole, to_text(vector)


def to_text(vector: "memoryview[float]") -> str:
    """A vector as pgvector reads it."""
    return f"[{','.join(map(repr, vector))}]"


def to_passage(row: Any, distance: str) -> Passage:
    """A row that was found; a vector of zeros has no cosine, and is the farthest."""
    far = float(row["distance"])
    score = -1.0 if isnan(far) else 1.0 - far if distance == "cosine" else -far
    return Passage(row["text"], score, row["id"], _decoder.decode(row["whole"]))
