"""Pydantic models as field types, where pydantic is installed; dspex itself never imports it."""

import dataclasses
from typing import Any

import msgspec
import pytest

import dspex
from dspex.program.adapters.chat import ChatAdapter
from dspex.program.adapters.json import JSONAdapter
from dspex.program.fields import InputField, OutputField
from dspex.program.signature import Signature

pydantic = pytest.importorskip("pydantic")


class Step(pydantic.BaseModel):
    text: str
    cost: int = 0


class Plan(pydantic.BaseModel):
    steps: list[Step]


@dataclasses.dataclass
class Other:
    y: str


class Holder(msgspec.Struct):
    step: Step


def field(kind: Any, **options: Any) -> Any:
    return Signature({"q": InputField(), "a": (kind, OutputField(**options))}).fields["a"]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Plan, '{"steps": [{"text": "a", "cost": "2"}]}', Plan(steps=[Step(text="a", cost=2)])),
        (list[Step], "```json\n[{'text': 'a'}]\n```", [Step(text="a")]),
        (Step | None, "null", None),
        (Step | Other, '{"y": "1"}', Other("1")),
        (dict[str, Step], '{"a": {"text": "b"}}', {"a": Step(text="b")}),
        (Holder, '{"step": {"text": "b"}}', Holder(Step(text="b"))),
    ],
)
def test_a_text_becomes_a_model(kind, text, value):
    assert field(kind).decode(text) == value
    assert field(kind).decode(field(kind).render(value)) == value
    assert field(kind).convert(value) == value


def test_a_text_that_does_not_fit_says_so():
    with pytest.raises(ValueError, match=r"expected Step, got .*: text: Field required$"):
        field(Step).decode('{"cost": 1}')


class Foreign:
    pass


def test_a_type_that_pydantic_does_not_know_is_an_error_of_the_signature():
    with pytest.raises(dspex.SignatureError, match=r"Field 'a' of type Step | Foreign: Unable to generate") as caught:
        Signature("q -> a: Step | Foreign")
    assert str(caught.value).count("\n") == 2
    assert Signature("q: Step | Foreign -> a").fields["q"].annotation == Step | Foreign


def test_constraints_hold_for_lists_of_models():
    with pytest.raises(ValueError, match="length >= 1"):
        field(list[Step], min_length=1).decode("[]")


def test_models_go_through_the_adapters():
    signature = Signature("plan: Plan -> steps: list[Step], best: Step | None")
    values = {"steps": [Step(text="a"), Step(text="b", cost=1)], "best": None}
    for adapter in (ChatAdapter(), JSONAdapter()):
        prompt = adapter.format(signature, [], {"plan": Plan(steps=[Step(text="x")])})
        assert '"cost"' in prompt[0]["content"]
        assert adapter.parse(signature, adapter.format_assistant_message_content(signature, values)) == values


def test_a_model_given_as_input_fits_its_type_and_a_text_does_not():
    compiled = Signature("plan: Plan -> a").compiled
    assert not compiled.mismatches({"plan": Plan(steps=[])})
    assert compiled.mismatches({"plan": 3})
