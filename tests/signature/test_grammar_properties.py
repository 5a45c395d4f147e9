"""Any text is a signature or a SignatureError; any signature comes back from its text."""

import random
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex.core.errors import SignatureError
from dspex.program.fields import name_fault
from dspex.program.signature import Signature

PIECES = (
    "a b answer question class config -> -> , , : : | [ ] ( ) . ... = * ' \" \\ str int list dict Literal Optional Union",
    "Annotated tuple typing. datetime.date None True 'x' \"y\" 3 -1 1.5 nope é \x00 \n \t ﬁ 99999999999999999999 __a__ {0} %s",
)
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True).filter(lambda name: not name_fault(name))
LITERALS = st.lists(st.text(max_size=6) | st.integers(-99, 99) | st.booleans(), min_size=1, max_size=3, unique_by=str)
TYPES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([str, int, float, bool]) | LITERALS.map(lambda values: Literal[tuple(values)]),
    lambda inner: (
        inner.map(lambda kind: list[kind])  # type: ignore[valid-type]
        | inner.map(lambda kind: dict[str, kind])  # type: ignore[valid-type]
        | inner.map(lambda kind: kind | None)
    ),
    max_leaves=3,
)


@pytest.mark.parametrize("seed", range(4))
def test_random_pieces_end_in_a_signature_or_a_signature_error(seed):
    rng = random.Random(seed)
    words = [word for line in PIECES for word in line.split(" ")]
    made = 0
    for _ in range(2500):
        text = rng.choice(("", " ")).join(rng.choices(words, k=rng.randrange(1, 14)))
        try:
            Signature(text)
            made += 1
        except SignatureError as error:
            assert "^" in str(error)
    assert made


@given(st.text(max_size=80))
@settings(max_examples=80)
def test_any_text_ends_in_a_signature_or_a_signature_error(text):
    try:
        Signature(text)
    except SignatureError as error:
        assert str(error).rstrip().endswith("^")


@given(st.lists(st.tuples(NAMES, TYPES), min_size=1, max_size=4, unique_by=lambda pair: pair[0]), st.integers(0, 3))
@settings(max_examples=50)
def test_a_signature_comes_back_from_its_text(fields, split):
    written = [
        (name, Signature("x -> y").with_updated_fields("y", kind).fields["y"].type_text) for name, kind in fields
    ]
    *inputs, last = [f"{name}: {text}" for name, text in written]
    text = f"{', '.join(inputs[:split])} -> {', '.join([*inputs[split:], last])}"
    signature = Signature(text)
    assert {name: field.annotation for name, field in signature.fields.items()} == dict(fields)
    assert Signature(repr(signature).removeprefix("StringSignature(")[:-1]).equals(signature)
