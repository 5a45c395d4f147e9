"""An Example is a record that knows which of its fields a program is given."""

import copy
import dataclasses
import datetime
import enum
import json
import pickle
import re
import subprocess
import sys
from typing import Any, Literal

import msgspec
import pytest

import dspex
from dspex import Example, Prediction

each_kind = pytest.mark.parametrize("kind", [Example, Prediction])


class Colour(enum.Enum):
    RED = "red"


class Point(msgspec.Struct):
    x: int


@dataclasses.dataclass
class Box:
    size: float


@each_kind
def test_a_field_is_an_item_and_an_attribute(kind):
    record = kind(question="2+2?", answer="4")
    record.answer = "four"
    record["hint"] = "count"
    assert (record.question, record["answer"], record.hint) == ("2+2?", "four", "count")
    assert ("hint" in record, "other" in record, len(record)) == (True, False, 3)
    assert (record.get("hint"), record.get("other"), record.get("other", 1)) == ("count", None, 1)
    del record["hint"]
    del record.answer
    assert list(record) == ["question"]


@each_kind
def test_a_missing_field_is_named_with_those_there_are(kind):
    record = kind(question="q", answer="a")
    del record["answer"]
    with pytest.raises(AttributeError, match=r"no field 'answer'; it has: question"):
        record.answer  # noqa: B018
    with pytest.raises(KeyError, match="answer"):
        record["answer"]
    with pytest.raises(AttributeError):
        del record.answer


@pytest.mark.parametrize("base", [{"a": 1, "b": 2}, Example(a=1, b=2), Prediction(a=1, b=2)])
def test_a_record_is_made_of_another_or_a_mapping_and_changed_by_keywords(base):
    assert Example(base, b=3, c=4) == Example(a=1, b=3, c=4)
    assert Example(base=base) == Example(a=1, b=2)


def test_a_record_made_of_an_example_keeps_its_inputs():
    assert Example(Example(a=1, b=2).with_inputs("a"), b=3).inputs() == Example(a=1)


@each_kind
def test_anything_else_as_base_is_an_error_that_tells_how_to_have_a_field_of_that_name(kind):
    with pytest.raises(TypeError, match=re.escape("{'base': ...}")):
        kind(base="text")
    assert kind({"base": "text"}).base == "text"


@pytest.mark.parametrize("name", ["keys", "items", "inputs", "copy", "toDict", "get"])
def test_a_field_named_like_a_method_is_stored_and_reached_as_an_item(name):
    record = Example({name: 1})
    setattr(record, name, 2)
    assert record[name] == 2
    assert callable(getattr(record, name))
    assert record.toDict() == {name: 2}


def test_inputs_and_labels_part_the_fields():
    record = Example(question="q", context="c", answer="a").with_inputs("question", "context")
    assert dict(record.inputs()) == {"question": "q", "context": "c"}
    assert dict(record.labels()) == {"answer": "a"}
    assert record.inputs().inputs() == record.inputs()


def test_inputs_must_be_declared_before_they_are_asked_for():
    record = Example(question="q")
    for part in (record.inputs, record.labels):
        with pytest.raises(ValueError, match=r"with_inputs"):
            part()


def test_with_inputs_copy_and_without_leave_the_record_as_it_was():
    record = Example(a=1, b=2, c=3)
    given = record.with_inputs("a", "b")
    assert given.copy(b=5).inputs() == Example(a=1, b=5)
    assert given.without("a").inputs() == Example(b=2)
    assert (record, given) == (Example(a=1, b=2, c=3), Example(a=1, b=2, c=3))
    with pytest.raises(ValueError, match="with_inputs"):
        record.inputs()
    with pytest.raises(KeyError, match="nope"):
        record.without("nope")


def test_a_copy_is_shallow_and_a_deep_one_is_not():
    record = Example(a=[1]).with_inputs("a")
    assert record.copy().a is record.a
    deep = copy.deepcopy(record)
    assert (deep, deep.inputs(), deep.a is record.a) == (record, record, False)


@each_kind
def test_it_unpacks_as_a_mapping(kind):
    def called(**fields: Any) -> dict[str, Any]:
        return fields

    assert called(**kind(a=1, dspy_x=2)) == dict(kind(a=1, dspy_x=2)) == {"a": 1}


def test_names_that_begin_with_dspy_are_hidden_unless_asked_for():
    record = Example(a=1, dspy_uuid="x")
    assert (len(record), list(record.keys()), list(record.values()), list(record.items())) == (
        1,
        ["a"],
        [1],
        [("a", 1)],
    )
    assert list(record.items(include_dspy=True)) == [("a", 1), ("dspy_uuid", "x")]
    assert list(record) == ["a", "dspy_uuid"]


def test_records_are_equal_by_content_whatever_their_kind_and_inputs():
    assert Example(a=[1]) == Example(a=[1]).with_inputs("a") == Prediction(a=[1])
    assert Example(a=1) != Example(a=2)
    assert Example(a=1) != "a"
    assert Example(a=1) != {"a": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"a": 1},
        {"a": [1, {"b": {3}}], "c": (None,)},
        {"a": Point(1)},
        {"a": Box(1.0)},
        pytest.param({"a": [object()]}, id="an object"),
        {"a": float("inf"), "b": [float("inf")]},
        {"a": bytearray(b"x")},
    ],
    ids=repr,
)
def test_any_record_has_a_hash_and_equal_ones_have_the_same(fields):
    assert hash(Example(fields)) == hash(Prediction(fields)) == hash(Example(dict(reversed(fields.items()))))


def test_numbers_that_are_equal_have_the_same_hash_also_in_lists():
    assert Example(a=[1]) == Example(a=[True]) == Example(a=[1.0])
    assert len({Example(a=[1]), Example(a=[True]), Example(a=[1.0]), Example(a=[2])}) == 2


def test_a_repr_is_cut_where_values_are_long():
    record = Example(text="x" * 10_000_000, rows=[["y" * 1000] * 1000] * 1000, answer="a").with_inputs("text", "rows")
    assert repr(record).startswith("Example(text='xxx")
    assert repr(record).endswith(", answer='a') (inputs: rows, text)")
    assert len(repr(record)) < 800
    assert repr(Example(a=1, b="it's")) == """Example(a=1, b="it's")"""


def test_a_repr_is_the_same_in_any_process():
    program = "from dspex.core.example import Example; print(Example(a={f'{n}' for n in range(7)}, b={'z': 1, 'y': 2}))"
    command = [sys.executable, "-c", program]
    texts = {
        subprocess.run(
            command, env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


@each_kind
def test_a_record_can_be_sent_to_another_process(kind):
    record = kind(a=[1], b="x").with_inputs("a")
    again = pickle.loads(pickle.dumps(record))
    assert (again, again.inputs(), type(again)) == (record, Example(a=[1]), kind)


def test_an_unfinished_record_has_no_fields_and_does_not_recurse():
    with pytest.raises(AttributeError):
        object.__new__(Example).answer  # noqa: B018


class Report(dspex.Signature):
    """Report."""

    day: datetime.date = dspex.InputField()
    points: list[Point] = dspex.InputField()
    note: str | None = dspex.InputField()
    colour: Colour = dspex.OutputField()
    verdict: Literal["yes", "no"] = dspex.OutputField()
    boxes: dict[str, Box] = dspex.OutputField()


@each_kind
def test_typed_values_come_back_from_json(kind):
    record = kind(
        day=datetime.date(2024, 2, 29),
        points=[Point(1), Point(2)],
        note=None,
        colour=Colour.RED,
        verdict="yes",
        boxes={"a": Box(1.5)},
        extra=[1, "x"],
    )
    again = kind.from_dict(json.loads(json.dumps(record.toDict())), Report)
    assert (again, type(again)) == (record, kind)
    assert dict(again.inputs()) == {"day": record.day, "points": record.points, "note": None}


def test_conversations_pictures_and_code_come_back_from_json():
    signature = dspex.Signature(
        "history: dspex.History, pictures: list[dspex.Image] | None -> code: dspex.Code['python']", "Go on."
    )
    picture = dspex.Image("https://example.com/a.png")
    record = Example(
        history=dspex.History(messages=[{"question": "Why?", "answer": "So."}]),
        pictures=[picture, picture],
        code=dspex.Code["python"](code="x = 1"),
    )
    data = json.loads(json.dumps(record.toDict()))
    assert data["history"] == {"messages": [{"question": "Why?", "answer": "So."}]}
    assert Example.from_dict(data, signature) == record


def test_without_a_signature_plain_data_come_back_as_they_are():
    data = Example(a=Point(1), b=Colour.RED).toDict()
    assert data == {"a": {"x": 1}, "b": "red"}
    assert Example.from_dict(data) == Example(a={"x": 1}, b="red")


def test_a_value_without_a_json_form_and_one_that_does_not_fit_are_named():
    with pytest.raises(TypeError, match="Field 'b': no JSON form for object"):
        Example(a=1, b=object()).toDict()
    with pytest.raises(ValueError, match=r"Field 'colour': expected one of red, got 'blue'"):
        Example.from_dict({"colour": "blue"}, Report)


def test_data_are_plain_to_any_depth():
    inner = Example(a=Prediction(b=[Point(1)]), when=datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC))
    assert Example(x=[inner]).toDict() == {"x": [{"a": {"b": [{"x": 1}]}, "when": "2024-01-02T00:00:00Z"}]}
