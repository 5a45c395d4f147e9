"""A signature goes out as one JSON document and comes back equal, with nothing imported."""

import dataclasses
import itertools
import json
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex.core.errors import ProgramFileError, SignatureTypeError
from dspex.program.fields import InputField, OutputField
from dspex.program.signature import Signature, make_signature


class Point(msgspec.Struct):
    """A place."""

    x: int
    label: Literal["near", "far"] = "near"
    tags: list[str] = []


@dataclasses.dataclass
class Size:
    width: Annotated[float, msgspec.Meta(ge=0)]
    point: Point


class Row(TypedDict):
    cells: dict[str, list[int]]


class Whole(Signature):
    """Do all of it."""

    question: str = InputField(desc="what is asked", min_length=3, pattern="^[a-z]")
    history: list[Point] = InputField(default_factory=list)
    limit: int | None = InputField(default=3, ge=0, le=9)
    anything: Any = InputField()
    row: Row = InputField(prefix="Cells:")
    verdict: Literal["yes", "no", 3] = OutputField(desc="the verdict")
    size: Size | None = OutputField()
    scores: dict[str, float] = OutputField(min_length=1)
    notes: list[Annotated[str, msgspec.Meta(max_length=80)]] = OutputField()
    mixed: str | int | list[bool] = OutputField()


def through_json(signature):
    return Signature.from_json_schema(json.loads(json.dumps(signature.to_json_schema())))


def test_what_comes_back_is_equal_and_works():
    loaded = through_json(Whole)
    assert loaded.equals(Whole)
    assert (loaded.__name__, loaded.instructions, loaded.signature) == ("Whole", "Do all of it.", Whole.signature)
    assert loaded.dump_state() == Whole.dump_state()
    assert loaded.to_json_schema() == Whole.to_json_schema()
    size = loaded.fields["size"].decode('{"width": 2, "point": {"x": 1}}')
    assert (size.width, size.point.x, size.point.label) == (2.0, 1, "near")
    with pytest.raises(ValueError, match="width"):
        loaded.fields["size"].decode('{"width": -2, "point": {"x": 1}}')
    assert loaded.compiled.check_inputs({"question": "abc", "anything": 1, "row": {}})["limit"] == 3


def test_the_document_is_a_json_schema_of_a_record():
    document = Signature("question: str, n: int -> answer: bool").to_json_schema()
    assert document == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "x-dspex-version": 1,
        "title": "StringSignature",
        "type": "object",
        "properties": {
            "question": {"type": "string", "x-role": "input"},
            "n": {"type": "integer", "x-role": "input"},
            "answer": {"type": "boolean", "x-role": "output"},
        },
        "required": ["question", "n", "answer"],
    }


SCALARS = st.sampled_from([str, int, float, bool])
WORDS = st.text("abcdefgh xyz'\"", min_size=1, max_size=6)
LITERALS = st.lists(WORDS | st.integers(-9, 9), min_size=1, max_size=4, unique_by=str).map(
    lambda values: Literal[tuple(values)]
)
BOUNDED = st.tuples(st.integers(-5, 5), st.sampled_from([int, float])).map(
    lambda pair: Annotated[pair[1], msgspec.Meta(ge=pair[0])]
)
NAMES = itertools.count()
OBJECTS = st.lists(SCALARS | LITERALS | BOUNDED, min_size=1, max_size=3).map(
    lambda kinds: msgspec.defstruct(f"Object{next(NAMES)}", [(f"f{i}", kind) for i, kind in enumerate(kinds)])
)
TYPES = st.recursive(
    SCALARS | LITERALS | BOUNDED | OBJECTS | st.sampled_from([list, dict, Any, str | int, int | str | None]),
    lambda inner: (
        inner.map(lambda kind: list[kind])
        | inner.map(lambda kind: dict[str, kind])
        | inner.filter(lambda kind: kind is not Any).map(lambda kind: kind | None)
    ),
    max_leaves=3,
)
OPTIONS = st.fixed_dictionaries({}, optional={"desc": st.text(max_size=20), "prefix": st.text(max_size=8)})
FIELDS = st.builds(lambda kind, options: (kind, InputField(**options)), TYPES, OPTIONS)
RESULTS = st.builds(lambda kind, options: (kind, OutputField(**options)), TYPES, OPTIONS)


@settings(max_examples=60)
@given(
    fields=st.dictionaries(st.sampled_from("abcd"), FIELDS, max_size=2),
    results=st.dictionaries(st.sampled_from("wxyz"), RESULTS, min_size=1, max_size=2),
    instructions=st.none() | st.text(min_size=1, max_size=30),
)
def test_any_signature_of_such_types_comes_back_equal(fields, results, instructions):
    signature = make_signature(fields | results, instructions)
    document = signature.to_json_schema()
    loaded = Signature.from_json_schema(json.loads(json.dumps(document)))
    assert loaded.equals(signature)
    assert loaded.instructions == signature.instructions


class Colour(Enum):
    RED = "red"


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    x: int


class Node(msgspec.Struct):
    children: "list[Node]"


class Timed(msgspec.Struct):
    when: date


@pytest.mark.parametrize("kind", [date, Colour, tuple[int, int], set[str], Closed, Node, Timed, dict[int, str]])
def test_a_type_that_json_schema_cannot_say_is_named(kind):
    signature = make_signature({"a": InputField(), "b": (kind, OutputField())})
    with pytest.raises(SignatureTypeError, match=r"Field 'b' of type .* cannot be written as JSON schema"):
        signature.to_json_schema()


def test_two_types_of_one_name_are_refused():
    twin = msgspec.defstruct("Point", [("y", int)])
    signature = make_signature({"a": (Point, InputField()), "b": (list[twin], OutputField())})
    with pytest.raises(SignatureTypeError, match=r"Field 'b' .*two types are named Point"):
        signature.to_json_schema()


def test_a_default_that_is_made_by_a_function_is_refused():
    signature = make_signature({"a": (int, InputField(default_factory=lambda: 3)), "b": OutputField()})
    with pytest.raises(SignatureTypeError, match="Field 'a'"):
        signature.to_json_schema()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x-dspex-version": 9}, "version 9"),
        ({"properties": {"a": {"type": "string"}}}, "x-role"),
        ({"properties": {"a": {"type": "file", "x-role": "output"}}}, "file"),
        ({"properties": {"a": {"$ref": "#/$defs/No", "x-role": "output"}}}, "No"),
        ({"properties": {"a": {"type": "string", "format": "date", "x-role": "output"}}}, "format"),
        ({"properties": {"lm": {"type": "string", "x-role": "output"}}}, "lm"),
        ({"properties": []}, "items"),
    ],
)
def test_what_is_no_document_is_refused(change, said):
    document = Signature("a -> b").to_json_schema() | change
    with pytest.raises(ProgramFileError, match=said):
        Signature.from_json_schema(document)


def test_equal_signatures_have_equal_types_within_and_equal_defaults():
    def of(kind, **options):
        return make_signature({"a": (kind, InputField(**options)), "b": OutputField()})

    assert of(list[int]).equals(of(list[int]))
    assert not of(list[Annotated[int, msgspec.Meta(ge=0)]]).equals(of(list[int]))
    assert not of(int, default=1).equals(of(int, default=2))
