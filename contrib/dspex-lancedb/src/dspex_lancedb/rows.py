"""Passages as rows of a table, and conditions as SQL; plain functions.

A table's columns are fixed, and fields of metadata are not. So a text or a boolean stands as a mark, its field and value as JSON, and
a number in two lists beside each other; the whole metadata stands as JSON.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa

from dspex.plugin import Condition, Passage, Vectors

COMPARED = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
EXACT = 1 << 53
SHOWN = ["id", "text", "metadata", "_distance"]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict[str, Any])


def schema_of(dim: int) -> pa.Schema:
    """The columns of a table of vectors of that length."""
    texts = pa.list_(pa.string())
    return pa.schema(
        [
            *(pa.field(name, pa.string()) for name in ("id", "text", "metadata")),
            *(pa.field(name, texts) for name in ("marks", "number_names")),
            pa.field("numbers", pa.list_(pa.float64())),
            pa.field("vector", pa.list_(pa.float32(), dim)),
        ]
    )


def to_table(passages: Sequence[Passage], vectors: Vectors) -> pa.Table:
    """Passages and their vectors as rows."""
    numbers = [{name: float(value) for name, value in one.metadata.items() if _is_number(value)} for one in passages]
    floats = pa.Array.from_buffers(pa.float32(), len(vectors) * vectors.dim, [None, pa.py_buffer(vectors.data)])
    columns = [
        [one.id for one in passages],
        [one.text for one in passages],
        [_encoder.encode(dict(one.metadata)).decode() for one in passages],
        [[mark(name, value) for name, value in one.metadata.items() if _is_marked(value)] for one in passages],
        [list(own) for own in numbers],
        [list(own.values()) for own in numbers],
        pa.FixedSizeListArray.from_arrays(floats, vectors.dim),
    ]
    schema = schema_of(vectors.dim)
    return pa.Table.from_arrays(
        [
            pa.array(column, field.type) if isinstance(column, list) else column
            for column, field in zip(columns, schema, strict=True)
        ],
        schema=schema,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_marked(value: Any) -> bool:
    # Whole numbers that have no float of their own too, for what they are equal to.
    return isinstance(value, (str, bool)) or (isinstance(value, int) and abs(value) >= EXACT)


def mark(name: str, value: Any) -> str:
    """A field and its value as one text."""
    return _encoder.encode([name, value]).decode()


def to_sql(conditions: Sequence[Condition]) -> str | None:
    """Conditions as a filter; None for none."""
    return " AND ".join(f"({_clause(condition)})" for condition in conditions) or None


def _clause(condition: Condition) -> str:
    if condition.operator != "in":
        return f"{_number(condition.field)} {COMPARED[condition.operator]} {float(condition.values[0])!r}"
    marks = [quoted(mark(condition.field, value)) for value in condition.values if _is_marked(value)]
    clauses = [f"array_has(marks, {one})" for one in marks]
    clauses += [f"{_number(condition.field)} = {float(value)!r}" for value in condition.values if not _is_marked(value)]
    return " OR ".join(clauses)


def _number(field: str) -> str:
    return f"array_element(numbers, CAST(array_position(number_names, {quoted(field)}) AS BIGINT))"


def quoted(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def to_passage(row: dict[str, Any], distance: str) -> Passage:
    """A row that was found."""
    far = float(row["_distance"])
    return Passage(row["text"], -far if distance == "l2" else 1.0 - far, row["id"], _decoder.decode(row["metadata"]))
