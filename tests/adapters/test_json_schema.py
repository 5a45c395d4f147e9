"""JSON: where a provider can hold a reply to a schema it is asked to; where it cannot, words ask for the same."""

import enum
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest

import dspex
from dspex.plugin import Capabilities, Choice, LMRequest, LMResponse, ToolCall
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


class Caller(Recorder):
    """Gives each of its answers as the arguments of the function that has to be called."""

    async def complete(self, request: LMRequest) -> LMResponse:
        self.asked.append(request)
        name = request.params["tool_choice"]["function"]["name"]
        return LMResponse((Choice("", (ToolCall("c1", name, next(self.texts)),), "tool_calls"),))


def test_a_model_that_only_calls_functions_gives_its_reply_as_ones_arguments():
    caller = Caller('{"answer": "4"}', tools=True, json_schema=False)
    lm = dspex.LM("acme/one", provider=caller, cache=False)
    with dspex.context(lm=lm, adapter="json"):
        predict = dspex.Predict("question -> answer: int")
        assert predict.adapter_choice().reason.endswith("as the arguments of a function")
        assert predict(question="?").answer == 4
    [request] = caller.asked
    [function] = request.tools
    assert function["function"]["parameters"]["properties"] == {"answer": {"type": "integer"}}
    assert request.params["tool_choice"] == {"type": "function", "function": {"name": function["function"]["name"]}}
    assert request.schema is None


def test_arguments_that_do_not_fit_are_asked_for_again_as_arguments():
    caller = Caller('{"answer": "four"}', '{"answer": 4}', tools=True)
    first, second = asked(caller, "question -> answer: int", "json")
    assert second.messages[-2].text == '{"answer": "four"}'
    assert "expected an integer" in second.messages[-1].text
    assert (second.tools, second.params) == (first.tools, first.params)


def test_the_second_call_of_another_form_is_held_so_too():
    class Mixed(Caller):
        async def complete(self, request: LMRequest) -> LMResponse:
            if request.tools:
                return await super().complete(request)
            self.asked.append(request)
            return LMResponse.from_text("four")

    first, second = asked(Mixed('{"answer": 4}', tools=True), "question -> answer: int", dspex.ChatAdapter())
    assert (first.tools, len(second.tools)) == ((), 1)


def test_a_task_with_functions_of_its_own_is_asked_for_in_words():
    recorder = Recorder('{"answer": 4}', '{"answer": 4, "calls": null}', tools=True)
    tool = {"type": "function", "function": {"name": "add", "parameters": {}}}
    [request] = asked(recorder, "question -> answer: int", "json", tools=[tool])
    assert (request.schema, request.tools) == (None, ())
    lm = dspex.LM("acme/one", provider=recorder, cache=False)
    with dspex.context(lm=lm, adapter="json"):
        predict = dspex.Predict("question, tools: list[dspex.Tool] -> answer: int, calls: dspex.ToolCalls | None")
        assert predict(question="?", tools=[dspex.Tool(len, name="size", args={"x": {}})]).answer == 4
    assert [one["function"]["name"] for one in recorder.asked[-1].tools] == ["size"]
    assert "tool_choice" not in recorder.asked[-1].params


@pytest.mark.parametrize("own", [{"response_format": {"type": "json_object"}}, {"grammar": "root ::= [a-z]"}])
def test_a_form_that_the_user_asks_for_goes_first(own):
    [request] = asked(Recorder('{"answer": 4}', json_schema=True), "question -> answer: int", "json", **own)
    assert request.schema is None


def test_no_other_form_has_a_schema_but_the_second_call_in_json_has():
    first, second = asked(Recorder("I think 4.", '{"answer": 4}', json_schema=True), "question -> answer: int", "chat")
    assert first.schema is None
    assert second.schema["required"] == ["answer"]
    assert second.messages[: len(first.messages)] == first.messages
