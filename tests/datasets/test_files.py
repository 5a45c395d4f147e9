"""Examples come from files as they stand there; what is damaged is named by file, line and column."""

import bz2
import datetime
import gzip
import lzma
import sys
import tracemalloc
import zipfile
from typing import Literal

import msgspec
import pytest

import dspex
from dspex import DatasetError, Example
from dspex.datasets import load_examples, read_examples


@pytest.fixture
def file(tmp_path):
    def written(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


TWO = [Example(question="2+2?", answer="4"), Example(question="3+3?", answer="6")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "question,answer\n2+2?,4\n3+3?,6\n"),
        ("x.CSV", 'question,answer\r\n"2+2?",4\r\n\r\n3+3?,"6"'),
        ("x.csv", "\ufeffquestion,answer\r2+2?,4\r3+3?,6\r"),
        ("x.tsv", "question\tanswer\n2+2?\t4\n3+3?\t6\n"),
        ("x.jsonl", '{"question": "2+2?", "answer": "4"}\n\n  {"question": "3+3?", "answer": "6"}'),
        ("x.ndjson", '\ufeff{"question": "2+2?", "answer": "4"}\r\n{"question": "3+3?", "answer": "6"}\r\n'),
        ("x.json", '\n[{"question": "2+2?", "answer": "4"},\n {"question": "3+3?", "answer": "6"}]'),
        ("x.json", '{"question": "2+2?", "answer": "4"}\n{"question": "3+3?", "answer": "6"}\n'),
    ],
)
def test_all_forms_hold_the_same_examples(file, name, content):
    examples = load_examples(file(name, content), inputs=["question"])
    assert examples == TWO
    assert [dict(example.inputs()) for example in examples] == [{"question": "2+2?"}, {"question": "3+3?"}]


def test_the_path_may_be_a_text_and_the_kind_be_said(file):
    path = file("data.txt", "question,answer\n2+2?,4\n3+3?,6\n")
    assert load_examples(str(path), kind="csv") == TWO
    with pytest.raises(dspex.ConfigurationError, match=r"No reader for 'data.txt'.*csv, tsv, jsonl"):
        load_examples(path)


def test_without_inputs_none_are_declared(file):
    [example] = load_examples(file("x.csv", "a,b\n1,2\n"))
    with pytest.raises(ValueError, match="with_inputs"):
        example.inputs()


def test_cells_keep_their_commas_quotes_and_line_ends(file):
    rows = load_examples(file("x.csv", 'a,b\n"1, ""2""\r\n3",  x \nü,\n'))
    assert rows == [Example(a='1, "2"\r\n3', b="  x "), Example(a="ü", b="")]


def test_values_of_json_keep_their_types(file):
    [row] = load_examples(file("x.jsonl", '{"a": [1, {"b": null}], "c": 1.5, "d": "\\u0000"}'))
    assert row == Example(a=[1, {"b": None}], c=1.5, d="\0")


def test_only_the_fields_asked_for_are_kept(file):
    path = file("x.csv", "a,b,c\n1,2,3\n")
    assert load_examples(path, "a", fields=["c", "a"]) == [Example(c="3", a="1")]
    with pytest.raises(dspex.ConfigurationError, match="'b' of `inputs` is not among `fields`: a, c"):
        load_examples(path, ["b"], fields=["a", "c"])


class Row(dspex.Signature):
    """Rate."""

    day: datetime.date = dspex.InputField()
    stars: int | None = dspex.OutputField(ge=1, le=5)
    mood: Literal["good", "bad"] = dspex.OutputField()


CELLS = "id,day,stars,mood\n7,2024-02-29,5,Good\n8,2024-03-01,,bad\n"


def test_a_signature_reads_cells_as_it_reads_replies(file):
    assert load_examples(file("x.csv", CELLS), types=Row) == [
        Example(id="7", day=datetime.date(2024, 2, 29), stars=5, mood="good"),
        Example(id="8", day=datetime.date(2024, 3, 1), stars=None, mood="bad"),
    ]


class Point(msgspec.Struct):
    x: int


def test_types_may_be_a_mapping_and_read_json_too(file):
    path = file("x.jsonl", '{"at": {"x": 1}, "day": "2024-02-29"}')
    assert load_examples(path, types={"at": Point, "day": datetime.date, "absent": int}) == [
        Example(at=Point(1), day=datetime.date(2024, 2, 29))
    ]


@pytest.mark.parametrize(
    ("name", "content", "line", "column", "words"),
    [
        ("x.csv", "a,b\n1,2\n\n1,2,3\n", 4, 3, "3 cells, and names for 2: '3' is one too many"),
        ("x.csv", 'a,b\n"1\n1",2\n1\n', 4, 2, "1 cells of 2: 'b' is missing"),
        ("x.csv", 'a,b\n1,2\n"1,2\n3,4\n', 3, None, "a quote that opens in this row is never closed"),
        ("x.csv", 'a,b\n"1"1,2\n', 2, None, "expected after"),
        ("x.csv", "a,b\n" + '"' + "x\n" * 100_000, 2, None, r"field limit .*up to line 65\d\d\d.*field_size_limit"),
        ("x.csv", ",b\n1,2\n", 1, 1, "no name .*index=False"),
        ("x.csv", "a,a\n1,2\n", 1, 2, "a second column has the name 'a'"),
        ("x.csv", b"a,b\n1,caf\xe9\n", 2, 6, "0xE9 is not in utf-8; give encoding="),
        ("x.csv", b"a,b\n1,2\n\0", 3, 1, "NUL"),
        ("x.csv", "a,b\n1,2\n".encode("utf-16"), None, None, "UTF-16: give encoding='utf-16'"),
        ("x.csv", "", None, None, "empty"),
        ("x.jsonl", "", None, None, "empty"),
        ("x.json", "", None, None, "empty"),
        ("x.jsonl", '{"a": 1}\n  {"a" 2}\n', 2, 8, "no JSON: expected ':'"),
        ("x.jsonl", '{"ä": "ü", "b": ?}\n', 1, 17, "no JSON"),
        ("x.jsonl", '{"a": 1}\n{"a": 1\n', 2, 8, "truncated"),
        ("x.jsonl", '{"a": NaN}\n', 1, 7, "no JSON"),
        ("x.jsonl", '{"a": 1}\n[{"a": 1}]\n', 2, None, "not list. An array of objects belongs into a .json file"),
        ("x.jsonl", '"a"\n', 1, None, "an object is wanted"),
        ("x.jsonl", '{"a": ' + "[" * 100_000, 1, None, "nested too deep"),
        ("x.jsonl", b'{"a": "caf\xe9"}\n', 1, 11, "0xE9 is not in utf-8"),
        ("x.json", '[{"a": 1},\n {"a": 2},\n ?]\n', 3, 2, "no JSON"),
        ("x.json", '[{"a": 1}, 3]\n', 2, None, "row 2: an object is wanted"),
        ("x.json", '{"a": 1,\n "b": 2}\n', 1, 9, "truncated"),
    ],
)
def test_what_is_damaged_is_named_by_file_line_and_column(file, name, content, line, column, words):
    path = file(name, content)
    with pytest.raises(DatasetError, match=words) as caught:
        load_examples(path)
    error = caught.value
    assert (error.path, error.line, error.column) == (str(path), line, column)
    assert str(error).startswith(str(path))
    assert isinstance(error, ValueError)
    assert len(str(error)) < 500


@pytest.mark.parametrize(
    ("name", "content", "options", "line", "column", "words"),
    [
        ("x.csv", "qestion,answer\n1,2\n", {"inputs": ["question"]}, 2, None, "no 'question'. Did you mean 'qestion'"),
        ("x.jsonl", '{"q": 1}\n{"a": 1}\n', {"inputs": "q"}, 2, None, "line 2: there is no 'q'. There are: a"),
        ("x.jsonl", '{"q": 1}\n{}\n', {"fields": ["q"]}, 2, None, "There are: none"),
        ("x.csv", CELLS.replace("5,", "9,"), {"types": Row}, 2, 3, "'stars': .*5"),
        ("x.csv", CELLS.replace("bad", "sad"), {"types": Row}, 3, 4, "'mood': expected one of good, bad, got 'sad'"),
        ("x.csv", "a,b\n1,x\n", {"types": {"b": int}}, 2, 2, "'b': expected an integer, got 'x'"),
    ],
)
def test_a_missing_field_and_a_value_of_another_type_are_named(file, name, content, options, line, column, words):
    with pytest.raises(DatasetError, match=words) as caught:
        load_examples(file(name, content), **options)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(("name", "content"), [("x.csv", "a,b\n"), ("x.json", "[]"), ("x.jsonl", "\n")])
def test_a_file_may_hold_no_example(file, name, content):
    assert load_examples(file(name, content)) == []


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "cp1252", "utf-8"])
def test_other_encodings_are_read_when_named(file, encoding):
    path = file("x.csv", "a,b\ncafé,2\n".encode(encoding))
    assert load_examples(path, encoding=encoding) == [Example(a="café", b="2")]


def test_a_text_that_is_not_in_the_encoding_named_is_an_error_with_its_line(file):
    with pytest.raises(DatasetError, match="line 1: it is not in ascii"):
        load_examples(file("x.csv", "a,b\ncafé,2\n"), encoding="ascii")


def test_a_file_that_is_absent_is_the_error_that_python_has_for_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        load_examples(tmp_path / "none.csv")


@pytest.mark.fault("X14")
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
def test_a_packed_file_is_refused_unread(file, pack):
    path = file("x.jsonl", pack(b'{"a": 1}\n' * 100_000))
    with pytest.raises(DatasetError, match="it is packed by"):
        load_examples(path)


@pytest.mark.fault("X14")
def test_a_zip_is_refused_unread(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.csv", "w") as archive:
        archive.writestr("x.csv", "a,b\n1,2\n")
    with pytest.raises(DatasetError, match="packed by zip"):
        load_examples(tmp_path / "x.csv")


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.json"])
def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path, name):
    path = tmp_path / name
    with path.open("wb") as file:
        file.seek(3 * 2**30)  # a hole: it takes no room on the disk
        file.write(b"x")
    tracemalloc.start()
    with pytest.raises(DatasetError, match="line 1: the line is longer than"):
        load_examples(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "head", "line"),
    [("x.csv", "a,b\n", "1,{}\n"), ("x.jsonl", "", '{{"a": "1", "b": "{}"}}\n')],
    ids=["csv", "jsonl"],
)
def test_a_long_file_is_read_in_constant_memory(file, name, head, line):
    path = file(name, head + line.format("x" * 1000) * 5_000)
    tracemalloc.start()
    count = sum(1 for _ in read_examples(path, "a"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 5_000
    assert peak < 300_000


def test_nothing_but_what_a_file_needs_is_imported(file):
    load_examples(file("x.csv", "a\n1\n"))
    assert not {"pandas", "pyarrow", "datasets"} & set(sys.modules)
