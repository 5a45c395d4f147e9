"""Signatures in a module whose annotations are text."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from dspex.program.fields import InputField, OutputField
from dspex.program.signature import Signature


class Kind(enum.Enum):
    A = "a"


class Form(Signature):
    """Sort it."""

    text: str = InputField()
    kind: Kind = OutputField()
    many: list[Kind] | None = OutputField()
    size: Annotated[int, msgspec.Meta(ge=0)] = OutputField()


def test_annotations_that_are_text_are_resolved():
    assert Form.fields["kind"].annotation is Kind
    assert Form.fields["many"].annotation == list[Kind] | None
    assert Form.fields["size"].constraints == ">= 0"


def test_names_of_the_function_around_are_known():
    class Local(enum.Enum):
        B = "b"

    class Inner(Signature):
        text: str = InputField()
        kinds: list[Local] = OutputField()

    assert Inner.fields["kinds"].annotation == list[Local]
