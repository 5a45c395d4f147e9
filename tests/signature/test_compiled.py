"""The compiled signature: shared, checked inputs, Structs, schema."""

import enum
import gc
import types
import weakref
from typing import Literal

import msgspec
import pytest

from dspex.core.errors import AdapterParseError, InputError
from dspex.plugin import SignatureView
from dspex.program.fields import InputField, OutputField
from dspex.program.signature import Signature


class Step(msgspec.Struct):
    text: str
    cost: int = 0


class Plan(Signature):
    goal: str = InputField()
    limit: int = InputField(default=3)
    hint: str | None = InputField()
    steps: list[Step] = OutputField(desc="in order", min_length=1)
    verdict: Literal["go", "stop"] = OutputField()
    note: str | None = OutputField()


def test_equal_text_and_types_share_one_compiled_signature():
    assert Signature("a, b -> c").compiled is Signature("a,b->c").compiled
    assert Signature("a -> b", "x").compiled is not Signature("a -> b", "y").compiled


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("int | str", "str | int"),
        ("Literal['a', 'b']", "Literal['b', 'a']"),
        ("Literal[1]", "Literal[True]"),
        ("int", "float"),
    ],
)
def test_types_that_differ_do_not_share(one, other):
    assert Signature(f"q -> a: {one}").compiled is not Signature(f"q -> a: {other}").compiled
    assert Signature(f"q -> a: {one}").compiled.key != Signature(f"q -> a: {other}").compiled.key


def test_a_type_stays_the_object_that_was_written_whatever_equal_one_came_before():
    before = Signature("q -> a: str | None")

    class Later(Signature):
        q: str = InputField()
        a: str | None = OutputField()

    assert Later.fields["a"].annotation == before.fields["a"].annotation
    assert isinstance(Later.fields["a"].annotation, types.UnionType)
    assert Later.equals(before.with_instructions(Later.instructions))


def test_types_of_one_name_do_not_share():
    def make(value: str) -> type[Signature]:
        kind = enum.Enum("Kind", {"A": value})
        return Signature("q -> a: Kind", custom_types={"Kind": kind})

    assert make("x").compiled is not make("y").compiled
    assert make("x").compiled.key != make("y").compiled.key


def test_a_compiled_signature_goes_with_its_last_class():
    made = Signature("only_here -> b")
    kept = weakref.ref(made.compiled)
    del made
    gc.collect()
    assert kept() is None


def test_defaults_that_cannot_be_hashed_are_fine():
    made = Signature({"a": (list, InputField(default=[1])), "b": OutputField()})
    assert made.compiled.check_inputs({}) == {"a": [1]}


def test_inputs_that_fit_pass_as_they_are():
    given = {"limit": 1, "hint": "h", "goal": "g"}
    assert Plan.compiled.check_inputs(given) is given


def test_absent_inputs_get_their_defaults():
    assert Plan.compiled.check_inputs({"goal": "g"}) == {"goal": "g", "limit": 3, "hint": None}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "'goal' is missing"),
        ({"gaol": "x"}, r"'goal' is missing; 'gaol' is unknown. Did you mean 'goal'\?"),
        ({"GOAL": "x"}, r"'GOAL' is unknown. Did you mean 'goal'\?"),
        ({"goal": "x", "verdict": "go"}, "'verdict' is an output"),
    ],
)
def test_missing_and_unknown_inputs_are_named(given, words):
    with pytest.raises(InputError, match=words):
        Plan.compiled.check_inputs(given)


def test_mismatched_types_are_told_by_name():
    assert Plan.compiled.mismatches({"goal": "g", "limit": 3, "hint": None}) == {}
    assert Plan.compiled.mismatches({"goal": {}, "limit": "3", "hint": None}) == {
        "goal": "Expected `str`, got `object`",
        "limit": "Expected `int`, got `str`",
    }


def test_outputs_come_typed_in_order_with_defaults():
    outputs = Plan.compiled.convert_outputs({"verdict": "GO", "steps": [{"text": "a", "cost": "2"}]})
    assert outputs == {"steps": [Step("a", 2)], "verdict": "go", "note": None}
    assert list(outputs) == ["steps", "verdict", "note"]


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"steps": []}, "steps"),
        ({"steps": [{"text": "a"}]}, "verdict"),
        ({"steps": [{"text": "a"}], "verdict": None}, "verdict"),
    ],
)
def test_an_output_that_does_not_fit_is_named(data, field):
    with pytest.raises(AdapterParseError, match=f"`{field}`") as caught:
        Plan.compiled.convert_outputs(data)
    assert caught.value.field == field


def test_the_schema_is_one_object_with_shared_definitions():
    schema = Plan.compiled.output_schema
    assert schema["required"] == ["steps", "verdict"]
    assert schema["properties"]["steps"] == {
        "type": "array",
        "items": {"$ref": "#/$defs/Step"},
        "minItems": 1,
        "description": "in order",
    }
    assert schema["properties"]["verdict"] == {"enum": ["go", "stop"]}
    assert schema["$defs"]["Step"]["required"] == ["text"]


def test_what_an_optional_output_refers_to_stands_at_the_root():
    schema = Signature("goal -> step: Step | None", custom_types={"Step": Step}).compiled.output_schema
    assert schema["properties"]["step"]["anyOf"] == [{"$ref": "#/$defs/Step"}, {"type": "null"}]
    assert list(schema["$defs"]) == ["Step"]


def test_structs_hold_inputs_and_outputs():
    made = msgspec.json.decode(b'{"steps": [{"text": "a"}], "verdict": "go"}', type=Plan.compiled.output_struct)
    assert (made.steps, made.note) == ([Step("a")], None)
    assert msgspec.convert({"goal": "g"}, Plan.compiled.input_struct).limit == 3


def test_it_is_what_an_adapter_expects():
    view: SignatureView = Plan.compiled
    (goal, *_), (steps, verdict, note) = view.inputs, view.outputs
    assert (goal.prefix, goal.type_text, steps.desc, steps.constraints) == ("Goal:", "str", "in order", "length >= 1")
    assert (verdict.choices, note.required) == (("go", "stop"), False)
