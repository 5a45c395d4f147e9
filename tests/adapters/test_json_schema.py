"""JSON: where a provider can hold a reply to a schema it is asked to; where it cannot, words ask for the same."""

import enum
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest

import dspex
from dspex.plugin import Capabilities, LMRequest, LMResponse
from dspex.program.adapters.json import JSONAdapter
from dspex.program.signature import Signature

JSON = JSONAdapter()
CAN = Capabilities(chat=True, json_schema=True)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Step(msgspec.Struct):
    text: str
    colour: Colour = Colour.RED


class Tree(msgspec.Struct):
    kids: "list[Tree]" = []


class Model(pydantic.BaseModel):
    size: int = pydantic.Field(ge=0, description="in cm")
    tags: list[str]


class Loose(msgspec.Struct):
    more: dict[str, int]


def schema_of(kind: Any, **options: Any) -> tuple[Any, str]:
    return JSON.schema(Signature({"q": dspex.InputField(), "a": (kind, dspex.OutputField(**options))}), CAN)


STEP = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "colour": {"$ref": "#/$defs/Colour"}},
    "required": ["text"],
    "additionalProperties": False,
}
COLOUR = {"type": "string", "enum": ["red", "blue"]}
SORTED = {"type": "string", "enum": ["blue", "red"]}


@pytest.mark.parametrize(
    ("kind", "part", "definitions"),
    [
        (str, {"type": "string"}, None),
        (Colour, COLOUR, None),
        (Literal["a", 1], {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "integer", "enum": [1]}]}, None),
        (str | None, {"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
        (list[Step], {"type": "array", "items": {"$ref": "#/$defs/Step"}}, {"Step": STEP, "Colour": SORTED}),
        (Step | None, {"anyOf": [{"$ref": "#/$defs/Step"}, {"type": "null"}]}, {"Step": STEP, "Colour": SORTED}),
        (Tree, {"$ref": "#/$defs/Tree"}, {
            "Tree": {
                "type": "object",
                "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
                "required": [],
                "additionalProperties": False,
            }
        }),
        (Model, {
            "type": "object",
            "properties": {
                "size": {"type": "integer", "minimum": 0},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["size", "tags"],
            "additionalProperties": False,
        }, None),
        (Annotated[str, msgspec.Meta(pattern="^(?=a).")], {"type": "string"}, None),
        (Annotated[str, msgspec.Meta(pattern="^a+$")], {"type": "string", "pattern": "^a+$"}, None),
    ],
)  # fmt: skip
def test_a_closed_type_has_a_schema_that_strict_modes_take(kind, part, definitions):
    schema, _ = schema_of(kind, desc="words stay in the prompt")
    assert schema["properties"] == {"a": part}
    assert schema["required"] == ["a"]
    assert schema["additionalProperties"] is False
    assert schema.get("$defs") == definitions


@pytest.mark.parametrize("kind", [dict, dict[str, int], list, Any, Loose, list[Loose]])
def test_an_open_type_is_asked_for_in_words_and_says_so(kind):
    schema, why = schema_of(kind)
    assert schema is None
    assert why.startswith("asked for in words: ")


def test_two_types_of_one_name_are_asked_for_in_words():
    other = msgspec.defstruct("Step", [("number", int)])
    signature = Signature({"a": (list[Step], dspex.OutputField()), "b": (list[other], dspex.OutputField())})
    schema, why = JSON.schema(signature, CAN)
    assert (schema, "another 'Step'" in why) == (None, True)


def test_what_may_be_absent_may_be_null():
    signature = Signature({"q": dspex.InputField(), "a": (float, dspex.OutputField(default=0.5))})
    schema, _ = JSON.schema(signature, CAN)
    assert schema["properties"]["a"] == {"anyOf": [{"type": "number"}, {"type": "null"}]}
    assert JSON.parse(signature, '{"a": null}') == {"a": 0.5}


class Recorder:
    """Keeps what it was asked, and answers from a list."""

    def __init__(self, *texts: str, **capabilities: Any) -> None:
        self.capabilities = Capabilities(chat=True, **capabilities)
        self.texts = iter(texts)
        self.asked: list[LMRequest] = []

    async def complete(self, request: LMRequest) -> LMResponse:
        self.asked.append(request)
        return LMResponse.from_text(next(self.texts))


def asked(provider: Recorder, signature: str, adapter: Any, **config: Any) -> list[LMRequest]:
    with dspex.context(lm=dspex.LM("acme/one", provider=provider, cache=False), adapter=adapter):
        dspex.Predict(signature, **config)(question="?")
    return provider.asked


def test_the_schema_goes_with_the_request_where_the_provider_can():
    [request] = asked(Recorder('{"answer": 4}', json_schema=True), "question -> answer: int", "json")
    assert request.schema["properties"] == {"answer": {"type": "integer"}}


@pytest.mark.parametrize("json_schema", [None, False])
def test_else_words_ask_for_it(json_schema):
    [request] = asked(Recorder('{"answer": 4}', json_schema=json_schema), "question -> answer: int", "json")
    assert request.schema is None
    assert '{"answer": ...}' in request.messages[0].text


@pytest.mark.parametrize("own", [{"response_format": {"type": "json_object"}}, {"grammar": "root ::= [a-z]"}])
def test_a_form_that_the_user_asks_for_goes_first(own):
    [request] = asked(Recorder('{"answer": 4}', json_schema=True), "question -> answer: int", "json", **own)
    assert request.schema is None


def test_no_other_form_has_a_schema_but_the_second_call_in_json_has():
    first, second = asked(Recorder("I think 4.", '{"answer": 4}', json_schema=True), "question -> answer: int", "chat")
    assert first.schema is None
    assert second.schema["required"] == ["answer"]
    assert second.messages[: len(first.messages)] == first.messages
