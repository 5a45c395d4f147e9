"""What the guide says of texts is so: its examples are read, and its errors are said, word by word."""

import re
from pathlib import Path

import pytest

import dspex
from dspex.program import grammar

PAGE = Path(__file__).parents[2].joinpath("docs", "signatures.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


TEXTS = [line for block in blocks("signature") for line in block.splitlines()]
ERRORS = [error for block in blocks("signature-error") for error in re.split(r"\n\n", block.rstrip("\n"))]


@pytest.mark.parametrize("text", TEXTS)
def test_an_example_text_is_a_signature(text):
    assert dspex.Signature(text).output_fields


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_is_said_as_the_guide_says_it(error):
    _, text, _ = error.splitlines()
    with pytest.raises(dspex.SignatureError) as caught:
        dspex.Signature(text.removeprefix("    "))
    assert str(caught.value) == error


def rules(text: str) -> dict[str, list[str]]:
    """Rules by name, as their parts; a comma between parts, which only EBNF has, is none."""
    _, *parts = re.split(r"(\w+) += ", text)
    return {name: re.findall(r'"[^"]+"|\w+|[][{}|]', rule) for name, rule in zip(parts[::2], parts[1::2], strict=True)}


def test_the_guide_has_the_rules_of_the_parser():
    [page] = blocks("ebnf")
    parser, guide = rules(grammar.__doc__), rules(page)
    assert len(parser) == 7
    assert parser == {name: guide[name] for name in parser}
