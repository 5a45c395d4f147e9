"""A signature goes out as one JSON document and comes back equal, with nothing imported."""

import dataclasses
import itertools
import json
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex.core.errors import ProgramFileError, SignatureTypeError
from dspex.program.fields import InputField, OutputField
from dspex.program.signature import Signature, make_signature
from dspex.program.types.code import Code
from dspex.program.types.history import History
from dspex.program.types.media import Audio, File, Image
from dspex.program.types.reasoning import Reasoning
from dspex.program.types.tool import Tool
from dspex.program.types.tool_calls import ToolCalls


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


@pytest.mark.slow
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
    when: datetime


class Renamed(msgspec.Struct, rename="camel"):
    due_date: str


class Checked(pydantic.BaseModel):
    x: int

    @pydantic.field_validator("x")
    @classmethod
    def is_even(cls, x: int) -> int:
        if x % 2:
            raise ValueError("odd")
        return x


EXACT = (
    date,
    datetime,
    time,
    timedelta,
    UUID,
    Decimal,
    bytes,
    tuple[int, str],
    tuple[int, ...],
    set[str],
    frozenset[int],
)
BARE = (tuple, set, dict[int, str], dict[date, list[int]], list[tuple[date, ...]])


@pytest.mark.parametrize("kind", [*EXACT, *BARE, Code, Code["sql"], Reasoning, ToolCalls, list[Code] | None], ids=str)
def test_types_beyond_json_schemas_words_come_back_as_themselves(kind):
    signature = make_signature({"a": (kind, InputField()), "b": (kind, OutputField())})
    loaded = through_json(signature)
    assert loaded.equals(signature)
    assert loaded.fields["b"].annotation == kind


@pytest.mark.parametrize("kind", [Image, list[Image], Audio | None, File, History, Tool, list[Tool]], ids=str)
def test_types_that_are_only_given_come_back_too(kind):
    signature = make_signature({"a": (kind, InputField()), "b": OutputField()})
    assert through_json(signature).fields["a"].annotation == kind


@pytest.mark.parametrize("base", [Enum, IntEnum, StrEnum])
def test_an_enum_comes_back_with_its_members_and_its_base(base):
    kind = base("Kind", {"A": 1, "B": 2} if base is IntEnum else {"A": "x", "B": "y"})
    signature = make_signature({"a": (kind, InputField()), "b": (kind | None, OutputField())})
    loaded = through_json(signature)
    assert loaded.equals(signature)
    again = loaded.fields["a"].annotation
    assert {one.name: one.value for one in again} == {one.name: one.value for one in kind}
    assert issubclass(again, base)
    assert loaded.fields["b"].annotation == again | None


@pytest.mark.parametrize("kind", [Checked, Closed, Node, Timed, Renamed])
def test_a_class_that_is_more_than_its_fields_is_given_again(kind):
    signature = make_signature({"a": InputField(), "b": (list[kind], OutputField())})
    document = json.loads(json.dumps(signature.to_json_schema()))
    with pytest.raises(ProgramFileError, match=rf"give it: custom_types={{'{kind.__name__}'"):
        Signature.from_json_schema(document)
    loaded = Signature.from_json_schema(document, {kind.__name__: kind})
    assert loaded.equals(signature)
    assert loaded.fields["b"].annotation == list[kind]


def test_a_class_that_is_given_may_be_no_other_and_stands_for_a_plain_one_too():
    plain = make_signature({"a": (Point, InputField()), "c": (Colour, InputField()), "b": OutputField()})
    loaded = Signature.from_json_schema(plain.to_json_schema(), {"Point": Point, "Colour": Colour})
    assert (loaded.fields["a"].annotation, loaded.fields["c"].annotation) == (Point, Colour)
    with pytest.raises(ProgramFileError, match="another 'Point'"):
        Signature.from_json_schema(plain.to_json_schema(), {"Point": Closed})
    with pytest.raises(ProgramFileError, match="another 'Colour'"):
        Signature.from_json_schema(plain.to_json_schema(), {"Colour": Enum("Colour", {"BLUE": "blue"})})


@pytest.mark.parametrize("kind", [Callable[[int], str], TypeVar("T"), Literal[Colour.RED]], ids=str)
def test_what_is_no_type_of_data_is_named(kind):
    signature = make_signature({"a": (kind, InputField()), "b": OutputField()})
    with pytest.raises(SignatureTypeError, match=r"Field 'a' of type .* cannot be written as JSON schema"):
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
        ({"properties": {"a": {"type": "string", "format": "phone", "x-role": "output"}}}, "phone"),
        ({"properties": {"a": {"type": "array", "minimum": 3, "x-type": "heap", "x-role": "output"}}}, "heap"),
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
