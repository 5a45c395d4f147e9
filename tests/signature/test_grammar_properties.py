"""Any text is a signature or a SignatureError; any signature comes back from its text."""

import collections.abc
import datetime
import enum
import random
import typing
from typing import Annotated, Any, Literal, Optional

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex.core.errors import SignatureError
from dspex.program.fields import name_fault
from dspex.program.signature import Signature, ensure_signature

PIECES = (
    "a b answer question class config -> -> , , : : | [ ] ( ) . ... = * ' \" \\ str int list dict Literal Optional Union",
    "Annotated tuple typing. datetime.date None True 'x' \"y\" 3 -1 1.5 nope é \x00 \n \t ﬁ 99999999999999999999 __a__ {0} %s",
    "collections.abc. Callable () => → # @ 1e5 '\\x' Point Colour.RED Colour datetime Any Generic Final Self Code[ b'",
)
VALID = (
    "question, context: list[str] -> answer: Literal['yes', 'no'], score: float",
    "a: dict[str, list[int]] | None, b: Optional[datetime.date] -> c: tuple[int, ...], d: Annotated[str, 'one word']",
    "x: Callable[[int, str], bool], y: collections.abc.Sequence[Colour] -> z: Literal[Colour.RED] | Point, u: Union[int, str]",
    "-> e: Literal['it\\'s', \"->\", '\\n', -1, 1.5, None, True], f: list[list[list[dict[str, Any]]]]",
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(msgspec.Struct):
    x: int


Positive = msgspec.Meta(gt=0)
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True).filter(lambda name: not name_fault(name))
LITERALS = st.lists(
    st.text(max_size=6) | st.integers(-99, 99) | st.booleans(),
    min_size=1,
    max_size=3,
    unique_by=lambda v: str(v).lower(),
)
LEAVES = [
    str,
    int,
    float,
    bool,
    bytes,
    Any,
    Colour,
    Point,
    datetime.date,
    datetime.timedelta,
    typing.List,  # noqa: UP006
    Literal[Colour.RED],
]
TYPES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(LEAVES) | LITERALS.map(lambda values: Literal[tuple(values)]),
    lambda inner: (
        inner.map(lambda kind: list[kind])  # type: ignore[valid-type]
        | inner.map(lambda kind: typing.List[kind])  # type: ignore[valid-type]  # noqa: UP006
        | inner.map(lambda kind: tuple[kind, ...])  # type: ignore[valid-type]
        | inner.map(lambda kind: dict[str, kind])  # type: ignore[valid-type]
        | inner.map(lambda kind: collections.abc.Sequence[kind])  # type: ignore[valid-type]
        | inner.map(lambda kind: Annotated[kind, "a 'note'\n", 3])
        | inner.map(lambda kind: Optional[kind])  # noqa: UP045
        | st.tuples(inner, inner).map(lambda pair: typing.Union[pair])  # noqa: UP007
    ),
    max_leaves=4,
)
# A model can't be asked for these, so they are inputs only.
CALLABLES = st.sampled_from(
    [
        typing.Callable[[], int],
        typing.Callable[[int, str], None],
        typing.Callable[..., Any],
        collections.abc.Callable[[Colour], str],
    ]
)


def outcome(text: str) -> bool:
    """Whether a text is a signature; nothing but a SignatureError with a caret may say that it is not."""
    try:
        signature = Signature(text)
    except SignatureError as error:
        assert str(error).endswith("^"), text
        assert len(str(error)) < 2000, text
        return False
    assert signature.output_fields
    return True


def soup(rng: random.Random, words: list[str]) -> str:
    return rng.choice(("", " ")).join(rng.choices(words, k=rng.randrange(1, 14)))


def damaged(rng: random.Random, words: list[str]) -> str:
    """A valid text with one to three pieces taken out, put in, or doubled."""
    text = rng.choice(VALID)
    for _ in range(rng.randrange(1, 4)):
        start = rng.randrange(len(text) + 1)
        stop = min(len(text), start + rng.choice((0, 0, 1, 5, 20)))
        text = text[:start] + rng.choice(("", rng.choice(words), text[start:stop] * 2)) + text[stop:]
    return text


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("make", "count"), [(soup, 23_500), (damaged, 1_500)], ids=["pieces", "damaged"])
def test_100_000_random_texts_end_in_a_signature_or_a_signature_error(seed, make, count):
    rng = random.Random(seed)
    words = [word for line in PIECES for word in line.split(" ")]
    made = sum(outcome(make(rng, words)) for _ in range(count))
    assert 0 < made < count


@pytest.mark.slow
@given(st.text(max_size=80))
@settings(max_examples=80)
def test_any_text_ends_in_a_signature_or_a_signature_error(text):
    outcome(text)


@pytest.mark.slow
@given(
    st.lists(st.tuples(NAMES, TYPES | CALLABLES), max_size=2, unique_by=lambda pair: pair[0]),
    st.lists(st.tuples(NAMES.map("out_{}".format), TYPES), min_size=1, max_size=2, unique_by=lambda pair: pair[0]),
)
@settings(max_examples=100)
def test_a_signature_comes_back_from_its_text(inputs, outputs):
    blank = Signature(f"{', '.join(name for name, _ in inputs)} -> {', '.join(name for name, _ in outputs)}")
    signature = blank
    try:
        for name, kind in (*inputs, *outputs):
            signature = signature.with_updated_fields(name, kind)
    except SignatureError:
        return  # a type that no reply can be read for
    text = repr(signature).removeprefix("StringSignature(")[:-1]
    again = ensure_signature(text)
    assert [(f.role, f.name, f.annotation) for f in again.fields.values()] == [
        (f.role, f.name, f.annotation) for f in signature.fields.values()
    ]
    assert again.equals(signature)
    assert repr(again) == repr(signature)


def test_types_of_other_modules_are_written_with_their_module_and_found_without_an_import():
    signature = Signature("day: datetime.date -> at: datetime.datetime, price: list[decimal.Decimal]")
    text = "day: datetime.date -> at: datetime.datetime, price: list[decimal.Decimal]"
    assert repr(signature) == f"StringSignature({text})"
    assert eval("Signature(text)", {"Signature": Signature, "text": text, "__name__": "bare"}).equals(signature)
