"""What a model is sent: messages, their order and their exact words; a change of words is a new version of the adapter."""

import enum
import re
from typing import Any, Literal

import msgspec
import pydantic
import pytest

from dspex.core.endpoint import Capabilities
from dspex.core.example import Example
from dspex.core.messages import Message
from dspex.program.adapters.chat import ChatAdapter
from dspex.program.adapters.json import JSONAdapter
from dspex.program.adapters.plain import PlainAdapter
from dspex.program.fields import InputField, OutputField
from dspex.program.signature import Signature
from dspex.program.types.history import History

QA = Signature("question -> answer", "Answer it.")
DEMOS = [
    {"question": "q1", "answer": "a1"},
    Example(question="q2", answer="a2", more="left out"),
]
ADAPTERS = [ChatAdapter(), JSONAdapter(), PlainAdapter()]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Step(msgspec.Struct):
    text: str


class Rich(Signature):
    """Plan it."""

    goal: str = InputField(desc="what to reach")
    sizes: list[int] = InputField()
    steps: list[Step] = OutputField()
    colour: Colour = OutputField(desc="of the paint")
    score: float = OutputField(ge=0, le=1)


def contents(messages: list[dict[str, Any]]) -> list[str]:
    return [message["content"] for message in messages]


def test_chat_asks_below_markers():
    system, *turns = ChatAdapter().format(QA, DEMOS, {"question": "q3"})
    assert system["role"] == "system"
    assert system["content"] == (
        "You are given:\n- `question` (str)\n\nYou produce:\n- `answer` (str)\n\n"
        "Reply in this form, each marker on a line of its own:\n\n"
        "[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]\n\nYour task:\nAnswer it."
    )
    assert turns == [
        {"role": "user", "content": "[[ ## question ## ]]\nq1"},
        {"role": "assistant", "content": "[[ ## answer ## ]]\na1\n\n[[ ## completed ## ]]"},
        {"role": "user", "content": "[[ ## question ## ]]\nq2"},
        {"role": "assistant", "content": "[[ ## answer ## ]]\na2\n\n[[ ## completed ## ]]"},
        {
            "role": "user",
            "content": "[[ ## question ## ]]\nq3\n\nReply with `[[ ## answer ## ]]`, and end with `[[ ## completed ## ]]`.",
        },
    ]
    assert ChatAdapter.version == 2


def test_json_asks_for_an_object():
    system, *turns = JSONAdapter().format(QA, DEMOS[:1], {"question": 'q"3'})
    assert system["content"] == (
        "You are given a JSON object with:\n- `question` (str)\n\n"
        'Reply with one JSON object and nothing else, {"answer": ...}, where:\n- `answer` (str)\n\nYour task:\nAnswer it.'
    )
    assert turns == [
        {"role": "user", "content": '{"question":"q1"}'},
        {"role": "assistant", "content": '{"answer":"a1"}'},
        {"role": "user", "content": '{"question":"q\\"3"}'},
    ]
    assert JSONAdapter.version == 2


def test_plain_ends_with_the_first_outputs_label():
    people = Signature("person -> sorted", "Sort it.")
    demos = [{"person": "Dr. Vera Young", "sorted": "Young, Vera"}, {"person": "A B", "sorted": "B, A"}]
    (message,) = PlainAdapter().format(people, demos, {"person": "X Y"})
    assert message == {
        "role": "user",
        "content": "Sort it.\n\nPerson: Dr. Vera Young\nSorted: Young, Vera\n\nPerson: A B\nSorted: B, A\n\nPerson: X Y\nSorted:",
    }
    assert PlainAdapter.version == 2


def test_types_descriptions_constraints_and_schemas_are_told():
    for system in (contents(adapter.format(Rich, [], {"goal": "g", "sizes": [1]}))[0] for adapter in ADAPTERS[:2]):
        assert "- `goal` (str): what to reach" in system
        assert "- `sizes` (list[int])" in system
        assert '- `steps` (JSON of the schema {"type":"array"' in system
        assert '"text":{"type":"string"}' in system
        assert "- `colour` (one of: red, blue): of the paint" in system
        assert "- `score` (float, >= 0, <= 1)" in system


def test_a_schema_has_no_titles_that_say_a_name_again():
    class Line(pydantic.BaseModel):
        unit_price: float
        title: str = pydantic.Field(title="of the article", examples=[{"title": "Title"}])

    class Bill(pydantic.BaseModel):
        lines: list[Line]

    system = contents(ChatAdapter().format(Signature("q -> bill: Bill"), [], {"q": ""}))[0]
    schema = msgspec.json.decode(re.search(r"JSON of the schema ({.*})\)", system)[1])
    assert schema["$defs"]["Line"]["properties"] == {
        "unit_price": {"type": "number"},
        "title": {"type": "string", "title": "of the article", "examples": [{"title": "Title"}]},
    }
    assert schema["properties"] == {"lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}}}


def test_values_that_are_no_text_are_json():
    assert "[[ ## sizes ## ]]\n[1,2]\n" in contents(ChatAdapter().format(Rich, [], {"goal": "g", "sizes": [1, 2]}))[1]
    assert '{"goal":"g","sizes":[1,2]}' in contents(JSONAdapter().format(Rich, [], {"goal": "g", "sizes": [1, 2]}))[1]


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_a_value_that_holds_itself_is_written_as_python_does(adapter):
    round_and_round: list[Any] = [1]
    round_and_round.append(round_and_round)
    content = adapter.format(Signature("rows: Any -> answer"), [], {"rows": round_and_round})[-1]["content"]
    assert "1, [...]" in content


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_render_gives_the_same_as_messages(adapter):
    formatted = adapter.format(QA, DEMOS, {"question": "q"})
    assert adapter.render(QA.compiled, DEMOS, {"question": "q"}) == tuple(
        Message.of(message["role"], message["content"]) for message in formatted
    )


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_partial_demos_come_first_and_what_is_no_demo_is_left_out(adapter):
    signature = Signature("a, b -> c, d")
    demos = [
        {"a": "A1", "b": "B1", "c": "C1", "d": "D1"},
        {"a": "A2", "c": "C2"},
        {"a": "A3", "b": "B3"},
        {"c": "C4", "d": "D4"},
        {"a": "A5", "b": None, "c": "C5", "d": "D5"},
    ]
    text = "\n".join(contents(adapter.format(signature, demos, {"a": "A9", "b": "B9"})))
    shown = [word for word in ("A2", "C2", "(not given)", "A5", "C5", "D5", "A1", "C1", "D1", "A9") if word in text]
    assert shown == sorted(shown, key=text.index)
    assert len(shown) == 10
    assert not any(word in text for word in ("A3", "C4", "None"))


def test_an_optional_output_that_is_none_makes_no_partial_demo():
    signature = Signature("a -> b: str | None")
    turns = contents(ChatAdapter().format(signature, [{"a": "x", "b": None}], {"a": "y"}))
    assert turns[1:3] == ["[[ ## a ## ]]\nx", "[[ ## b ## ]]\nnull\n\n[[ ## completed ## ]]"]


@pytest.mark.parametrize("value", ["{0.__class__} %s {{x}} {question} %(a)s", "{{ 7 * 7 }} ${x}", "\\1 \\g<0>"])
@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_braces_and_percents_in_values_are_plain_text(adapter, value):
    shown = "\n".join(contents(adapter.format(QA, [{"question": value, "answer": value}], {"question": value})))
    assert shown.count(value if adapter.name != "json" else value.replace("\\", "\\\\")) == 3


def test_a_signature_without_inputs_asks_at_once():
    signature = Signature("-> joke", "Tell one.")
    assert contents(PlainAdapter().format(signature, [], {})) == ["Tell one.\n\nJoke:"]
    assert contents(ChatAdapter().format(signature, [], {}))[1].startswith("Reply with `[[ ## joke ## ]]`")
    assert contents(JSONAdapter().format(signature, [], {}))[1] == "{}"


@pytest.mark.parametrize(
    ("text", "grammar", "params"),
    [
        ("a -> b", True, {"stop": ["\n"]}),
        ("a -> b, c", True, {"stop": ["\n\n"]}),
        ("a -> b: Literal['x y', 'q\"']", True, {"stop": ["\n"], "grammar": 'root ::= " " ("x y" | "q\\"") "\\n"'}),
        ("a -> b: bool", True, {"stop": ["\n"], "grammar": 'root ::= " " ("true" | "false") "\\n"'}),
        ("a -> b: bool", None, {"stop": ["\n"]}),
    ],
)
def test_plain_stops_at_the_line_and_binds_choices_by_a_grammar(text, grammar, params):
    assert PlainAdapter().params(Signature(text), Capabilities(grammar=grammar)) == params


def test_prefixes_label_plain_lines_unless_they_cannot_tell_fields_apart():
    labelled = QA.with_updated_fields("answer", prefix="A:")
    assert contents(PlainAdapter().format(labelled, [], {"question": "q"}))[0].endswith("Question: q\nA:")
    alike = labelled.with_updated_fields("question", prefix="a:")
    assert contents(PlainAdapter().format(alike, [], {"question": "q"}))[0].endswith("question: q\nanswer:")


def test_a_reply_is_made_of_values_for_doubles():
    values = {"answer": "yes", "score": 0.5, "tags": ["a"]}
    assert (
        ChatAdapter().format_fields(values)
        == '[[ ## answer ## ]]\nyes\n\n[[ ## score ## ]]\n0.5\n\n[[ ## tags ## ]]\n["a"]'
    )
    assert JSONAdapter().format_fields({"answer": "yes", "n": 1}) == '{\n  "answer": "yes",\n  "n": 1\n}'
    assert PlainAdapter().format_fields({"answer": "yes", "n": 1}) == " yes\nN: 1"


class Shouting(ChatAdapter):
    def format_task_description(self, signature: Any) -> str:
        return super().format_task_description(signature).upper()

    def format_field_with_value(self, fields_with_values: Any) -> str:
        return "\n".join(f"<{field.name}>{value}" for field, value in fields_with_values.items())


def test_a_subclass_may_override_a_part():
    system, asked, answered, main = contents(Shouting().format(QA, DEMOS[:1], {"question": "q"}))
    assert system.endswith("YOUR TASK:\nANSWER IT.")
    assert (asked, answered) == ("<question>q1", "<answer>a1\n\n[[ ## completed ## ]]")
    assert main.startswith("<question>q\n\nReply with")
    assert contents(ChatAdapter().format(QA, [], {"question": "q"}))[0].endswith("Answer it.")


def test_a_subclass_may_override_format_for_render():
    class Own(ChatAdapter):
        def format(self, signature: Any, demos: Any, inputs: Any) -> list[dict[str, Any]]:
            return [{"role": "user", "content": "own"}]

    assert Own().render(QA, [], {"question": "q"}) == (Message.of("user", "own"),)


def test_a_subclass_may_write_earlier_turns_its_own_way():
    class Summed(ChatAdapter):
        def format_conversation_history(self, signature: Any, history_field_name: str, inputs: Any) -> Any:
            turns = inputs.pop(history_field_name).messages
            told = ChatAdapter().format_conversation_history(signature, "past", {"past": History(turns[:1])})
            return [{"role": "user", "content": f"{len(turns)} of {', '.join(signature.fields)}"}, *told]

    turns = [{"question": "q1", "answer": "a1"}, {"question": "q2"}]
    inputs = {"question": "q", "past": History(turns)}
    made = Summed().format(
        Signature("past: History, question -> answer", custom_types={"History": History}), [], inputs
    )
    assert [row["role"] for row in made] == ["system", "user", "user", "assistant", "user"]
    assert made[1]["content"] == "2 of question, answer"
    assert made[2]["content"] == "[[ ## question ## ]]\nq1"
    assert inputs["past"].messages == turns


def test_literal_choices_with_a_field_named_completed_have_no_end_marker():
    signature = Signature("a -> completed: Literal['yes', 'no']")
    assert "and end with" not in contents(ChatAdapter().format(signature, [], {"a": "x"}))[1]
    assert ChatAdapter().parse(signature, "[[ ## completed ## ]]\nyes") == {"completed": "yes"}
    assert Literal["yes"]
