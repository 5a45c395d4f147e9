"""The text form of a signature: what it means, and what is said where it means nothing."""

import collections.abc
import datetime
import enum
import typing
from typing import Annotated, Any, Generic, Literal, NewType, Optional, TypeVar, Union

import msgspec
import pytest

from dspex.core.errors import SignatureError
from dspex.program.signature import Signature, make_signature

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Outer:
    class Inner(enum.Enum):
        ONE = 1


class Pair(msgspec.Struct, Generic[T]):
    left: T
    right: T


class Raises:
    def __class_getitem__(cls, item: Any) -> Any:
        raise RuntimeError("not today")


Answer = Literal["yes", "no"]
Identifier = NewType("Identifier", int)
Percent = msgspec.Meta(ge=0, le=100)


def types_of(text: str, **custom: Any) -> dict[str, Any]:
    fields = make_signature(text, custom_types=custom).fields
    return {name: field.annotation for name, field in fields.items()}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("int", int),
        ("list[str]", list[str]),
        ("dict[str, list[int]]", dict[str, list[int]]),
        ("tuple[int, ...]", tuple[int, ...]),
        ("str | None", Optional[str]),  # noqa: UP045
        ("dict[str, int, ]", dict[str, int]),
        ("Literal['yes', 'no',]", Literal["yes", "no"]),
        ("Optional[int]", Optional[int]),  # noqa: UP045
        ("Union[int, str]", Union[int, str]),  # noqa: UP007
        ("int | str | None", Union[int, str, None]),  # noqa: UP007
        ("Literal['yes', \"no\", 3, -1, True]", Literal["yes", "no", 3, -1, True]),
        ("Literal['->', 'a, b', 'it\\'s', ']']", Literal["->", "a, b", "it's", "]"]),
        ("List[Dict[str, Any]]", typing.List[typing.Dict[str, Any]]),  # noqa: UP006
        ("typing.List[int]", typing.List[int]),  # noqa: UP006
        ("datetime.date", datetime.date),
        ("Annotated[int, 'how many']", Annotated[int, "how many"]),
        ("Colour", Colour),
        ("Outer.Inner", Outer.Inner),
        ("Literal[Colour.RED]", Literal[Colour.RED]),
        ("collections.abc.Sequence[str]", collections.abc.Sequence[str]),
        ("None", type(None)),
        ("Literal['\\t\\x41\\u00e9\\\\', 1e3]", Literal["\tAé\\", 1000.0]),
        ("Literal[Answer, 'maybe']", Literal["yes", "no", "maybe"]),
        ("Answer | None", Optional[Answer]),  # noqa: UP045
        ("Annotated[int, Percent]", Annotated[int, Percent]),
        ("Annotated[list[str], 'names', 3]", Annotated[list[str], "names", 3]),
        ("tuple[()]", tuple[()]),
        ("str | (int | float) | None", Optional[str | int | float]),  # noqa: UP045
        ("list[(int)]", list[int]),
        ("Identifier", Identifier),
        ("Pair[int]", Pair[int]),
        ("list[dict[str, tuple[int, ...]] | None]", list[Optional[dict[str, tuple[int, ...]]]]),  # noqa: UP045
    ],
)
def test_a_type_is_what_python_would_make_of_it(written, meant):
    assert types_of(f"q -> a: {written}") == {"q": str, "a": meant}


@pytest.mark.parametrize("text", ["a,b->c", " a , b -> c ", "a,\nb\n->\nc", "a, b, -> c,", "a: str, b: str -> c: str"])
def test_spaces_lines_and_last_commas_do_not_matter(text):
    assert types_of(text) == {"a": str, "b": str, "c": str}


def test_there_may_be_no_input():
    assert Signature("-> joke").signature == " -> joke"


def test_custom_types_come_before_all_other_names():
    assert types_of("q -> a: Colour, b: int", Colour=float, int=str) == {"q": str, "a": float, "b": str}


def test_names_of_the_calling_function_are_known():
    class Local(enum.Enum):
        X = "x"

    assert Signature("q -> a: list[Local]").fields["a"].annotation == list[Local]


def test_names_of_the_function_around_a_comprehension_are_known():
    class Local(msgspec.Struct):
        x: int

    made = [Signature("a -> b: Local") for _ in range(2)]
    made += (Signature("a -> b: list[Local | None]") for _ in range(1))
    assert [one.fields["b"].annotation for one in made] == [Local, Local, list[Local | None]]


def test_names_of_a_callers_caller_are_not_known():
    class Hidden(enum.Enum):
        X = "x"

    def inner() -> Any:
        return Signature("q -> a: Hidden")

    assert Hidden.X
    with pytest.raises(SignatureError, match="Unknown type 'Hidden'"):
        inner()


@pytest.mark.parametrize(
    "written",
    [
        "List",
        "Tuple",
        "list[int]",
        "tuple[()]",
        "Callable[[int, str], None]",
        "Callable[[], int]",
        "Callable[..., Any]",
    ],
)
def test_a_type_is_told_as_it_was_written(written):
    assert Signature(f"q: {written} -> a").fields["q"].type_text == written


def test_a_path_is_found_beside_a_class_of_its_first_name():
    from datetime import date, datetime

    fields = Signature("q -> day: datetime.date, at: datetime").fields
    assert [fields["day"].annotation, fields["at"].annotation] == [date, datetime]


def test_a_value_that_is_no_type_hides_no_type():
    Colour = "red"  # noqa: F841  it stands in the caller's scope
    assert Signature("q -> a: Colour").fields["a"].annotation is globals()["Colour"]


def test_a_note_in_annotated_may_be_any_named_value():
    signature = Signature("q -> share: Annotated[int, Limit]", custom_types={"Limit": Percent})
    assert signature.fields["share"].constraints == ">= 0, <= 100"


def test_a_description_may_stand_in_annotated():
    assert Signature("q -> a: Annotated[str, 'one word']").fields["a"].desc == "one word"


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("question, answer", 16, "no arrow"),
        ("", 0, "no arrow"),
        ("a -> b -> c", 7, "only one arrow"),
        ("a ->", 4, "no output"),
        ("a, a -> b", 3, "'a' stands twice"),
        ("a, b -> b", 8, "'b' stands on both sides"),
        ("a: strr -> b", 3, "Did you mean 'str'"),
        ("a -> b: Colur", 8, "Did you mean 'Colour'"),
        ("a -> b: datetime.dat", 8, r"no 'datetime.dat'\. Did you mean 'date'\?\n"),
        ("class -> b", 0, "identifier and no Python keyword"),
        ("a, 2b -> c", 3, "expected a field's name"),
        ("config -> b", 0, "'config' is reserved"),
        ("a -> instructions", 5, "'instructions' is reserved"),
        ("_trace -> b", 0, "'_trace' is reserved"),
        ("my field -> b", 3, "'field' does not belong here"),
        ("a: list[int -> b", 7, "never closed"),
        ("a: int] -> b", 6, "never opened"),
        ("a: list[] -> b", 7, "nothing in these brackets"),
        ("a: int = 3 -> b", 7, r"InputField\(default=...\)"),
        ("*args -> b", 0, "stars have no meaning"),
        ("a -> b: 'int'", 8, "expected a type"),
        ("a -> b: Literal['x]", 16, "no closing quote"),
        ("a -> b: Literal[int]", 16, "Literal takes texts"),
        ("a -> b: Literal", 8, "needs its types in brackets"),
        ("a -> b: int | Generic", 8, "union cannot have these types"),
        ("a -> b: int[str]", 8, "takes nothing in brackets"),
        ("a -> b: json.dumps", 8, "is not a type"),
        ("a -> b: Callable[[int], str]", 5, "cannot be read from text"),
        ("a -> b: Literal['x', Colour.RED, 'red']", 5, "written alike"),
        ("a -> ﬁeld", 5, "Unicode"),
        ("a => b", 2, "the arrow is written `->`"),
        ("a → b", 2, "the arrow is written `->`"),
        ("a --> b", 2, "the arrow is written `->`"),
        ("a: string -> b", 3, "Did you mean 'str'"),
        ("a -> day: date", 10, "Did you mean 'datetime.date'"),
        ("a -> b: datetime.dat", 8, "Did you mean 'date'"),
        ("a -> b: Annotated[int, Percent(ge=0)]", 30, "nothing is called here; .*custom_types"),
        ("a -> b: Literal['\\d']", 17, "has no meaning"),
        ("a -> b: Literal[1234567890123456789]", 16, "at most 18 digits"),
        ("a -> b: Raises[int]", 8, "cannot have these types: not today"),
        ("a -> b: Optional[int, str]", 8, "requires a single type"),
        ("a -> b: int |", 13, "the text ends; expected a type"),
        ("a -> b: (int | str", 8, "never closed"),
        ("a -> b: int)", 11, "does not belong here"),
        ("a -> b: list[int)", 16, "expected a comma or a closing bracket"),
        ("a, , b -> c", 3, "expected a field's name"),
        ("a: -> b", 3, "'->' does not belong here; expected a type"),
        ("a: str | -> b", 9, "'->' does not belong here; expected a type"),
        ("a: list[str | ] -> b", 14, "']' does not belong here; expected a type"),
        ("a -> b: Literal[1e400]", 16, "too large"),
    ],
)
def test_a_fault_is_shown_with_a_caret_under_it(text, at, words):
    with pytest.raises(SignatureError, match=f"(?i){words}") as caught:
        Signature(text)
    _, shown, caret = str(caught.value).split("\n")
    assert shown == f"    {text}"
    assert caret == f"    {' ' * at}^"


def test_of_a_long_text_the_part_around_the_fault_is_shown():
    with pytest.raises(SignatureError, match="nope") as caught:
        Signature(f"{', '.join(f'f{i}' for i in range(1000))} -> a: nope, b")
    assert max(map(len, str(caught.value).split("\n"))) < 200


def test_nesting_of_parentheses_is_bounded():
    with pytest.raises(SignatureError, match="nested too deep"):
        Signature(f"a -> b: {'(' * 5000}int{')' * 5000}")


def test_nesting_is_bounded():
    with pytest.raises(SignatureError, match="nested too deep"):
        Signature(f"a -> b: {'list[' * 10_000}int{']' * 10_000}")


@pytest.mark.parametrize(
    "text", ["'\\" * 200_000, "[" * 200_000, "a: " + "int|" * 50_000, "a," * 50_000, " " * 200_000]
)
def test_a_flood_is_read_in_bounded_time(text):
    with pytest.raises(SignatureError):
        Signature(text)


def test_a_name_that_cannot_be_imported_is_an_unknown_type(tmp_path, monkeypatch):
    (tmp_path / "breaks_at_import.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SignatureError, match="Unknown type 'breaks_at_import'"):
        Signature("a -> b: breaks_at_import.Thing")
