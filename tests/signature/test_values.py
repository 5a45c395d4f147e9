"""What a model writes becomes a value where its meaning is certain, and else an error that says what is wrong."""

import base64
import collections
import dataclasses
import datetime
import decimal
import enum
import importlib.util
import pathlib
import typing
import uuid
from contextlib import suppress
from typing import Annotated, Any, Literal

import msgspec
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex.program.fields import InputField, OutputField
from dspex.program.json_text import read_json
from dspex.program.signature import Signature


class Colour(enum.Enum):
    RED = "red"
    DARK_BLUE = "dark blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mixed(enum.Enum):
    A = "x"
    B = 2


class Swapped(enum.Enum):
    ONE = "TWO"
    TWO = "ONE"


class Point(msgspec.Struct):
    x: int
    y: int = 0


@dataclasses.dataclass
class Box:
    size: float
    inner: list[Point]


class Tree(msgspec.Struct):
    born: datetime.datetime
    branches: "list[Tree]" = []


class Row(typing.TypedDict):
    a: int


def field(kind: Any, **options: Any) -> Any:
    return Signature({"q": InputField(), "a": (kind, OutputField(**options))}).fields["a"]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (str, 'as it is: "x"', 'as it is: "x"'),
        (int, "42", 42),
        (int, " `42` ", 42),
        (int, "**-7**", -7),
        (int, "1,234,567", 1234567),
        (int, "1,234", 1234),
        (int, "5.0", 5),
        (float, "0.5", 0.5),
        (float, "1e3", 1000.0),
        (float, "1,234.5", 1234.5),
        (float, "1,234,567", 1234567.0),
        (bool, "Yes.", True),
        (bool, "FALSE", False),
        (Literal["yes", "no"], "'yes'", "yes"),
        (Literal["yes", "no"], "No.", "no"),
        (Literal["New York", "Rome"], "new_york", "New York"),
        (Literal["a", "A"], "A", "A"),
        (Literal[1, 2], "2", 2),
        (Literal[True, "maybe"], "true", True),
        (Colour, "red", Colour.RED),
        (Colour, "DARK_BLUE", Colour.DARK_BLUE),
        (Colour, "Dark-Blue", Colour.DARK_BLUE),
        (Level, "2", Level.HIGH),
        (Level, "low", Level.LOW),
        (Mixed, "2", Mixed.B),
        (Swapped, "ONE", Swapped.TWO),
        (str | None, "null", None),
        (str | None, "None of these", "None of these"),
        (str | None, '"null"', "null"),
        (int | None, "", None),
        (int | None, "3", 3),
        (Literal["a"] | None, "A", "a"),
        (int | str, "5", 5),
        (int | str, "five", "five"),
        (int | str, '"5"', "5"),
        (datetime.date, "2024-02-29", datetime.date(2024, 2, 29)),
        (datetime.datetime, "2024-02-29 10:30", datetime.datetime(2024, 2, 29, 10, 30)),  # noqa: DTZ001
        (datetime.time, "10:30", datetime.time(10, 30)),
        (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
        (uuid.UUID, "12345678-1234-5678-1234-567812345678", uuid.UUID("12345678-1234-5678-1234-567812345678")),
        (list[str], '["a", "b"]', ["a", "b"]),
        (list[int], '```json\n["1", 2]\n```', [1, 2]),
        (list[str], "Here it is: ['a', 'b']", ["a", "b"]),
        (dict[str, bool], "{'a': True}", {"a": True}),
        (list[str], '["a", "b\\n",]', ["a", "b\n"]),
        (tuple[int, ...], "[1, 2]", (1, 2)),
        (list[tuple[int, str]], "[(1, 'a')]", [(1, "a")]),
        (tuple[int, str], "(1, 'a')", (1, "a")),
        (tuple[int, ...], "(1,)", (1,)),
        (list[int], "(1, 2)", [1, 2]),
        (Point, '{"x": "1"}', Point(1)),
        (Box, '{"size": 1, "inner": [{"x": 2}]}', Box(1.0, [Point(2)])),
        (Row, '{"a": 1}', {"a": 1}),
        (list[Colour | None], '["red", null]', [Colour.RED, None]),
        (Annotated[int, msgspec.Meta(ge=0)], "3", 3),
        (Any, '{"a": [1]}', {"a": [1]}),
        (Any, "words", "words"),
    ],
)
def test_a_text_becomes_the_value_it_means(kind, text, value):
    made = field(kind).decode(text)
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (int, "about 5"),
        (int, "5.5"),
        (int, "12.000"),
        (int, "1,23"),
        (int, "5 or 6"),
        (int, "9" * 5000),
        (float, "1,234"),
        (float, "1,5"),
        (float, "nan"),
        (float, "1e400"),
        (float, "45%"),
        (bool, "maybe"),
        (bool, "yes and no"),
        (Literal["a", "A", "b"], "'a,"),
        (Literal["Is", "IS"], "is"),
        (Literal["yes", "no"], "yes, but no"),
        (Colour, "green"),
        (datetime.datetime, "2024"),
        (datetime.datetime, "1700000000"),
        (datetime.timedelta, "5"),
        (datetime.date, "03/04/2024"),
        (list[str], "a, b"),
        (list[int], '["a"]'),
        (list[str], '["a", "b'),
        (list[str], "[1] and [2]"),
        (list[datetime.datetime], "[2024]"),
        (Tree, '{"born": "2024-01-02T03:04:05", "branches": [{"born": 2024}]}'),
        (Point, '{"x": 1, "y": '),
        (Point, '{"y": 1}'),
        (list[int], "[" * 100_000),
        (Annotated[int, msgspec.Meta(ge=0)], "-3"),
    ],
)
def test_a_text_that_may_mean_something_else_is_an_error(kind, text):
    with pytest.raises(ValueError, match=r"expected|Expected"):
        field(kind).decode(text)


@pytest.mark.parametrize(
    ("kind", "data", "value"),
    [
        (str, 5, "5"),
        (str, ["a"], '["a"]'),
        (int, "1,000", 1000),
        (int, 5.0, 5),
        (bool, "no", False),
        (float, 3, 3.0),
        (Colour, "RED", Colour.RED),
        (Colour, Colour.RED, Colour.RED),
        (list[int], "[1]", [1]),
        (list[Point], [{"x": 1}], [Point(1)]),
        (Point, Point(3), Point(3)),
        (datetime.date, "2024-01-02", datetime.date(2024, 1, 2)),
        (datetime.date, datetime.date(2024, 1, 2), datetime.date(2024, 1, 2)),
        (str | None, None, None),
        (int | str, "5", "5"),
        (int | str, 5, 5),
        (Any, '["a"]', '["a"]'),
        (Literal["a"], "A", "a"),
    ],
)
def test_json_data_becomes_the_value_it_means(kind, data, value):
    made = field(kind).convert(data)
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (str, None),
        (int, True),
        (int, 5.5),
        (int, None),
        (bool, 2),
        (datetime.datetime, 2024),
        (Colour, 3),
        (list[int], {"a": 1}),
    ],
)
def test_json_data_of_another_kind_is_an_error(kind, data):
    with pytest.raises(ValueError, match=r"expected|Expected"):
        field(kind).convert(data)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        (True, "true"),
        (None, "null"),
        (1.0, "1.0"),
        (Colour.RED, "red"),
        (["a", 1], '["a",1]'),
        ({"a": Point(1)}, '{"a":{"x":1,"y":0}}'),
        (datetime.date(2024, 1, 2), "2024-01-02"),
        (pathlib.PurePosixPath("/a b"), "/a b"),
        (numpy.arange(3), "[0,1,2]"),
        ({"n": numpy.int64(3)}, '{"n":3}'),
        (collections.UserDict(a=1), '{"a":1}'),
        ({1: object}, None),
        (["\ud800"], '["\\ud800"]'),
    ],
)
def test_a_value_is_written_as_text_or_json(value, text):
    written = field(list[str]).render(value)
    assert text is None or written == text


VALUES = {
    str: st.text(),
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    str | None: st.none() | st.text() | st.sampled_from(["null", "None", '"null"', '""None"', 'null"']),
    int | None: st.none() | st.integers(),
    Colour: st.sampled_from(Colour),
    Mixed: st.sampled_from(Mixed),
    Literal["a", "A", 1, False]: st.sampled_from(["a", "A", 1, False]),
    list[str]: st.lists(st.text()),
    dict[str, list[int]]: st.dictionaries(st.text(), st.lists(st.integers(-(2**60), 2**60))),
    int | str: st.integers(-(2**60), 2**60) | st.text() | st.sampled_from(["5", '"5"', "null", "[1]"]),
    datetime.date: st.dates(),
    datetime.datetime: st.datetimes(),
    Point: st.builds(Point, st.integers(-(2**60), 2**60), st.integers(0, 9)),
    datetime.time: st.times(),
    datetime.timedelta: st.timedeltas(),
    decimal.Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    uuid.UUID: st.uuids(),
    bytes: st.binary(),
    bytes | None: st.none() | st.binary() | st.just(base64.b64decode("null")),
    datetime.date | int | None: st.none() | st.dates() | st.integers(-9, 9),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", VALUES, ids=str)
def test_what_is_written_is_read_as_the_same_value(kind):
    known = field(kind)

    @given(VALUES[kind])
    @settings(max_examples=40)
    def round_trip(value: Any) -> None:
        again = known.decode(known.render(value))
        assert (again, type(again)) == (value, type(value))

    round_trip()


class Held(msgspec.Struct):
    x: float
    note: str = ""


@dataclasses.dataclass
class Deep:
    held: dict[str, list[Held]]


class Tinted(msgspec.Struct):
    colour: Colour
    share: float


@pytest.mark.parametrize("number", ["1e400", "NaN", "-Infinity", '"inf"', '"nan"'])
@pytest.mark.parametrize(
    ("kind", "form"),
    [
        (list[float], "[%s]"),
        (dict[str, float], "{'a': %s}"),
        (int | float, "%s"),
        (tuple[float, ...], "[1.0, %s]"),
        (Held, '{"x": %s}'),
        (Held, '{"note": "two\nlines", "x": %s}'),
        (Deep, '{"held": {"a": [{"x": %s}]}}'),
    ],
    ids=str,
)
def test_a_number_in_a_structure_is_finite_too(kind, form, number):
    with pytest.raises(ValueError, match=r"expected|finite|Expected"):
        field(kind).decode(form % number)
    assert field(kind).decode(form % "1") == field(kind).decode(form % "1.0")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (tuple[Colour, float], '["red", 1]', (Colour.RED, 1.0)),
        (dict[Colour, float], '{"red": 1}', {Colour.RED: 1.0}),
        (Tinted, '{"colour": "red", "share": 1}', Tinted(Colour.RED, 1.0)),
        (list[Tinted], '[{"colour": "red", "share": 1}]', [Tinted(Colour.RED, 1.0)]),
    ],
    ids=str,
)
def test_a_choice_may_stand_beside_a_number(kind, text, value):
    assert field(kind).decode(text) == value


@pytest.mark.parametrize("number", ["NaN", "Infinity", "sNaN"])
def test_a_decimal_is_finite(number):
    with pytest.raises(ValueError, match="expected"):
        field(list[decimal.Decimal]).decode(f'["{number}"]')
    assert field(decimal.Decimal).decode("1e400") == decimal.Decimal("1e400")


def test_what_may_be_anything_is_no_infinite_number_but_may_be_a_text_that_says_so():
    with pytest.raises(ValueError, match="finite"):
        field(Any).convert({"a": [float("inf")]})
    assert field(Any).decode("nan") == "nan"
    assert field(list[str]).decode('["inf", "NaN"]') == ["inf", "NaN"]


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('{"a": "one\ntwo\tthree"}', {"a": "one\ntwo\tthree"}),
        ('Here:\n```json\n{"code": "def f():\n    return \\"x\\""}\n```', {"code": 'def f():\n    return "x"'}),
    ],
)
def test_a_string_may_run_over_lines(text, data):
    assert read_json(text) == data
    with pytest.raises(ValueError, match="two values"):
        read_json('{"a": "one\ntwo", "a": "three"}')


@pytest.mark.slow
@given(st.text(alphabet="[]{}\"'`:,\\ab1 \nTrue", max_size=60))
@settings(max_examples=100)
def test_reading_json_ends_in_data_or_a_value_error(text):
    with suppress(ValueError):
        read_json(text)


@pytest.mark.skipif(importlib.util.find_spec("json_repair") is None, reason="json-repair is not installed")
def test_broken_json_is_mended_but_not_where_it_is_cut():
    with pytest.raises(ValueError, match="broken"):
        field(list[str]).decode('[a, "b \\/ c",]')
    assert field(Point).decode("{x: 1, y: 2}") == Point(1, 2)
    with pytest.raises(ValueError, match="cut off"):
        field(Point).decode("{x: 1, y: ")
