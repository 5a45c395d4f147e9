"""Whatever stands in a file, there are examples or a DatasetError that names it."""

import csv
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dspex import DatasetError, Example, load_examples

PIECES = st.sampled_from(
    [
        b'"',
        b",",
        b"\n",
        b"\r\n",
        b"\r",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"a",
        b'"a"',
        b"1",
        b"\\u",
    ]
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("any") / "data"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json"])
@given(st.lists(PIECES, max_size=20).map(b"".join) | st.binary(max_size=40))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_examples_or_a_named_fault(path, kind, content):
    path.write_bytes(content)
    try:
        assert all(isinstance(example, Example) for example in load_examples(path, kind=kind))
    except DatasetError as error:
        assert str(error).startswith(str(path))


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_pythons_csv_writes_comes_back(path, data):
    names = data.draw(st.lists(TEXTS.filter(bool), min_size=1, max_size=3, unique=True))
    rows = data.draw(st.lists(st.lists(TEXTS, min_size=len(names), max_size=len(names)), max_size=4))
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    examples = load_examples(path, kind="csv")
    assert [list(example.items(include_dspy=True)) for example in examples] == [
        list(zip(names, row, strict=True)) for row in rows
    ]


@pytest.mark.slow
@given(
    st.lists(
        st.dictionaries(
            TEXTS,
            st.recursive(TEXTS | st.integers(-(2**53), 2**53) | st.none() | st.booleans(), st.lists, max_leaves=3),
            max_size=3,
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_json_comes_back_in_both_its_forms(path, rows):
    for kind, text in (("json", json.dumps(rows)), ("jsonl", "\n".join(map(json.dumps, rows)))):
        path.write_text(text)
        assert load_examples(path, kind=kind) == [Example(row) for row in rows]
