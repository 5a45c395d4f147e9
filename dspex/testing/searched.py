"""What a retriever is tried with: plain and odd passages, conditions, queries, and vectors without a model."""

import re
import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from dspex.core.messages import Passage
from dspex.core.where import all_hold, conditions

# A word that all passages have, so that a search by words finds them too.
SHARED = "passage"
TOLD: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("Rome is the capital of Italy", {"kind": "city", "year": 753, "old": True, "rank": 1.5}),
    ("Paris lies on the river Seine", {"kind": "city", "year": 52, "old": True, "rank": -2}),
    ("A spider has eight legs", {"kind": "animal", "year": 1758, "old": False}),
    ("Whales are mammals that swim in oceans", {"kind": "animal", "year": 1758.0}),
    ("Bread is baked of flour and water", {"kind": "food", "year": "52"}),
    ("Volcanoes throw out lava and ash", {}),
)
PASSAGES = tuple(
    Passage(f"{text} {SHARED}", id=str(number), metadata=metadata) for number, (text, metadata) in enumerate(TOLD)
)
CONDITIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "text": {"kind": "city"},
        "any of": {"kind": ["animal", "food"]},
        "number": {"year": 1758},
        "number as float": {"rank": -2.0},
        "text of digits": {"year": "52"},
        "true": {"old": True},
        "false": {"old": False},
        "one is not true": {"old": 1},
        "mixed": {"year": [52, "52"]},
        "above": {"year": {"gt": 753}},
        "at least": {"year": {"gte": 753}},
        "below": {"rank": {"lt": 1.5}},
        "between": {"rank": {"lte": 1.5, "gt": -2}},
        "two": {"kind": "animal", "year": {"gte": 1000}},
        "none": {"kind": "city", "old": False},
        "unknown field": {"absent": "x"},
    }
)
ODD = (
    Passage(f"quoted {SHARED}", id="a'b\"c`d", metadata={"it's": "x' OR '1'='1", 'say "hi"': 1}),
    Passage(f"SQL {SHARED}", id="'; DROP TABLE passages; --", metadata={"a.b": 1, "a": {"b": 2}}),
    Passage(
        f"Ünï 漢字 🙂 {SHARED}",
        id="ü/漢 🙂\n",
        metadata={"ключ": "значение", "with space": [1, [2, None]], "words": ["one"]},
    ),
    Passage(f"braces {{0}} %s {SHARED}", id="x" * 300, metadata={"$and": "y", "": None, "deep": {"e": {"f": [True]}}}),
    Passage(
        f"long {'word ' * 3_000}{SHARED}",
        id="00",
        metadata={"int": 2**53 + 1, "float": 0.1, "minus": -0.5, "id": 2**60 + 1},
    ),
)
ODD_CONDITIONS: tuple[Mapping[str, Any], ...] = (
    {"it's": "x' OR '1'='1"},
    {'say "hi"': 1},
    {"a.b": 1},
    {"ключ": ["значение"]},
    {"$and": "y"},
    # A list is none of its elements, and large numbers are apart as small ones are.
    {"with space": 1},
    {"words": "one"},
    {"int": 2**53 + 1},
    {"int": 2**53},
    {"int": 2**63},
    {"id": 2**60 + 1},
    {"id": 2**60},
)
ODD_QUERIES = ("", "  \n", "?!*()[]{}~^\"'\\", "'; DROP TABLE passages; --", "a\0b", "half: \ud83d", "word " * 5_000)
DIM = 64


def check_narrowed(name: str, where: Mapping[str, Any], found: Sequence[Passage], passages: Sequence[Passage]) -> None:
    """Exactly those came for which the conditions hold."""
    wanted = sorted(one.id for one in passages if all_hold(conditions(where), one.metadata))
    assert sorted(ids(found)) == wanted, f"{name}: {where} gave {sorted(ids(found))}, not {wanted}"


def ids(passages: Sequence[Passage]) -> list[str]:
    """Their ids, in order."""
    return [passage.id for passage in passages]


def scores(passages: Sequence[Passage]) -> list[float]:
    """Their scores, in order, to some digits: sums in another order differ in the last ones."""
    return [round(passage.score, 3) for passage in passages]


def hashed_words(texts: Sequence[str]) -> list[list[float]]:
    """Vectors without a model: counts of hashed words, all of one length."""
    return [_row(text) for text in texts]


def _row(text: str) -> list[float]:
    counts = [0.01] * DIM
    for word in re.findall(r"\w+", text.lower()):
        counts[zlib.crc32(word.encode("utf-8", "surrogatepass")) % DIM] += 1.0
    length = sum(value * value for value in counts) ** 0.5
    return [value / length for value in counts]
