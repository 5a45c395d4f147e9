"""Pydantic models as field types, where pydantic is installed; dspex itself never imports it."""

import dataclasses
from datetime import date
from typing import Annotated, Any

import msgspec
import pytest

import dspex
from dspex.core.errors import SignatureTypeError
from dspex.program.adapters.chat import ChatAdapter
from dspex.program.adapters.json import JSONAdapter
from dspex.program.adapters.xml import XMLAdapter
from dspex.program.fields import InputField, OutputField
from dspex.program.signature import Signature

pydantic = pytest.importorskip("pydantic")
annotated_types = pytest.importorskip("annotated_types")


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
    assert Signature("q: AsyncGenerator[dspex.Image, Step] -> a").input_fields


class Aliased(pydantic.BaseModel):
    my_name: str = pydantic.Field(alias="myName")
    given: int = pydantic.Field(3, validation_alias="GIVEN", serialization_alias="out")
    raw: bytes = b""


@pytest.mark.parametrize("adapter", [ChatAdapter(), JSONAdapter(), XMLAdapter()], ids=lambda adapter: adapter.name)
def test_an_aliased_field_goes_by_its_name_and_is_read_by_both(adapter):
    signature = Signature("q -> a: Aliased")
    value = Aliased(myName="Ada", GIVEN=4, raw="é".encode())
    reply = adapter.format_assistant_message_content(signature, {"a": value})
    assert '"my_name":"Ada","given":4,"raw":"é"' in reply
    assert adapter.parse(signature, reply) == {"a": value}
    assert adapter.parse(signature, reply.replace("my_name", "myName").replace("given", "GIVEN")) == {"a": value}
    assert "my_name" in adapter.format(signature, [], {"q": ""})[0]["content"]


class Ticket(pydantic.BaseModel):
    due: date = date(2024, 2, 29)
    raw: bytes = b"abc"
    picture: dspex.Image | None = None
    notes: Any = None

    @pydantic.field_serializer("due", when_used="json")
    def in_words(self, due: date) -> str:
        return f"{due:%d %b}"


def test_a_model_is_written_as_its_json_also_with_parts_within():
    signature = Signature("ticket: Ticket, others: list[Ticket], any: Any -> a")
    cat = dspex.Image("https://example.org/cat.png")
    one = Ticket()
    inputs = {"ticket": Ticket(picture=cat), "others": [one], "any": [one, Ticket(notes=[cat])]}
    content = ChatAdapter().format(signature, [], inputs)[-1]["content"]
    assert [part["type"] for part in content] == ["text", "image_url", "text", "image_url", "text"]
    assert [part["image_url"] for part in content[1::2]] == [{"url": cat.url}] * 2
    assert content[2]["text"].count('{"due":"29 Feb","raw":"abc","picture":null,"notes":null}') == 2


class Scored(pydantic.BaseModel):
    scores: list[float]


@pytest.mark.parametrize("number", ["1e400", "NaN", "Infinity", '"nan"'])
def test_a_models_numbers_are_finite(number):
    with pytest.raises(ValueError, match=r"expected"):
        field(Scored).decode(f'{{"scores": [{number}]}}')


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


def test_notes_of_annotated_bound_and_describe_a_field():
    class Noted(Signature):
        count: Annotated[int, msgspec.Meta(ge=0, description="how many")] = InputField()
        size: Annotated[int, annotated_types.Gt(0), annotated_types.Le(9)] = InputField(le=5)
        name: Annotated[str, pydantic.Field(min_length=2, pattern="^[a-z]+$", description="the name")] = OutputField()
        share: Annotated[float | None, pydantic.Field(ge=0, le=1)] = OutputField()
        label: Annotated[list[int], OutputField(min_length=1)]

    assert [one.constraints for one in Noted.fields.values()] == [
        ">= 0",
        "> 0, <= 5",
        "length >= 2, pattern ^[a-z]+$",
        ">= 0, <= 1",
        "length >= 1",
    ]
    assert [Noted.fields[name].desc for name in ("count", "name")] == ["how many", "the name"]
    assert Noted.fields["label"].annotation == list[int]
    for name, reply in (("name", "A"), ("share", "2"), ("label", "[]")):
        with pytest.raises(ValueError, match="Expected"):
            Noted.fields[name].decode(reply)
    assert (Noted.fields["share"].decode("0.5"), Noted.fields["share"].decode("null")) == (0.5, None)


def test_a_note_that_fits_no_bound_is_named():
    with pytest.raises(SignatureTypeError, match="Field 'day' of type date: `ge` must be an int or float"):

        class Bad(Signature):
            day: Annotated[date, annotated_types.Ge(date(2000, 1, 1))] = OutputField()
