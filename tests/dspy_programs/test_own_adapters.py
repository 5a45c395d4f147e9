"""Adapters that programs write in parts, as DSPy's base class puts them together."""

from typing import Literal

import pytest

import dspex
from dspex.adapters.utils import format_field_value, get_annotation_name, parse_value, serialize_for_json
from dspex.testing import DummyLM


class Lines(dspex.Adapter):
    """`name=value` on lines of their own; has no `format`."""

    def format_field_description(self, signature):
        return f"From {', '.join(signature.input_fields)} make {', '.join(signature.output_fields)}."

    def format_field_structure(self, signature):
        return "Lines of name=value."

    def format_task_description(self, signature):
        return signature.instructions

    def format_user_message_content(self, signature, inputs, prefix="", suffix="", main_request=False):
        lines = [f"{name}={inputs[name]}" for name in signature.input_fields if name in inputs]
        return "\n".join([*lines, *["Go on."][: int(main_request)]])

    def format_assistant_message_content(self, signature, outputs, missing_field_message=None):
        return "\n".join(f"{name}={outputs.get(name, missing_field_message)}" for name in signature.output_fields)

    def parse(self, signature, completion):
        return dict(line.split("=", 1) for line in completion.splitlines())

    def format_fields(self, values):
        return "\n".join(f"{name}={value}" for name, value in values.items())


TALK = dspex.Signature("history: dspex.History, question -> answer", "Be brief.")
HISTORY = dspex.History(messages=[{"question": "a?", "answer": "A"}, {"question": "b?"}])
DEMOS = [dspex.Example(question="c?", answer="C")]


def contents(messages):
    return [message["content"] for message in messages]


async def test_an_adapter_in_parts_needs_no_format():
    lm = DummyLM([{"answer": "yes"}] * 2, adapter=Lines())
    dspex.configure(lm=lm, adapter=Lines())
    predict = dspex.Predict(TALK)
    predict.demos = DEMOS
    assert predict(question="d?", history=HISTORY).answer == "yes"
    assert (await predict.acall(question="d?", history=HISTORY)).answer == "yes"
    assert contents(lm.history[-1]["messages"]) == [
        "From question make answer.\n\nLines of name=value.\n\nBe brief.",
        "question=c?",
        "answer=C",
        "question=a?",
        "answer=A",
        "question=b?",
        "question=d?\nGo on.",
    ]


class Reworded(dspex.JSONAdapter):
    """Every part of it is another's."""

    def format_field_description(self, signature):
        return f"Fields: {', '.join(signature.fields)}."

    def format_field_structure(self, signature):
        return "An object."

    def format_task_description(self, signature):
        return "Task."

    def user_message_output_requirements(self, signature):
        return "As said."


def test_each_part_of_the_json_form_may_be_overridden():
    lm = DummyLM([{"answer": "4"}], adapter=dspex.JSONAdapter())
    dspex.configure(lm=lm, adapter=Reworded())
    assert dspex.Predict("question -> answer: int")(question="2+2?").answer == 4
    assert contents(lm.history[-1]["messages"]) == [
        "Fields: question, answer.\n\nAn object.\n\nTask.",
        '{"question":"2+2?"}\n\nAs said.',
    ]


def test_the_json_forms_demos_and_turns_may_be_overridden():
    class Silent(dspex.JSONAdapter):
        def format_demos(self, signature, demos):
            return []

        def format_conversation_history(self, signature, history_field_name, inputs):
            return [{"role": "user", "content": f"{len(inputs[history_field_name].messages)} turns"}]

    shown = contents(Silent().format(TALK, DEMOS, {"question": "d?", "history": HISTORY}))
    assert shown[1:] == ["2 turns", '{"question":"d?"}']


def test_a_part_that_is_needed_and_not_there_is_named():
    lacking = "format_assistant_message_content"
    own = type("Half", (dspex.Adapter,), {name: part for name, part in vars(Lines).items() if name != lacking})()
    signature = dspex.Signature("question -> answer")
    assert own.format(signature, [], {"question": "?"})[-1]["content"] == "question=?\nGo on."
    with pytest.raises(NotImplementedError, match=f"Half has no `{lacking}`"):
        own.format(signature, DEMOS, {"question": "?"})


@pytest.mark.parametrize(
    ("value", "annotation", "wanted"),
    [
        ("42", int, 42),
        ("true", bool, True),
        ("{'a': 1}", dict[str, int], {"a": 1}),
        ([1, 2], list[int], [1, 2]),
        ("'yes'", Literal["yes", "no"], "yes"),
        ("maybe", int | str, "maybe"),
        (None, str | None, None),
    ],
)
def test_values_are_read_by_their_type(value, annotation, wanted):
    assert parse_value(value, annotation) == wanted


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="int"):
        parse_value("many", int)


def test_values_are_written_as_in_a_prompt():
    field = dspex.Signature("notes: str -> tags: list[str]").input_fields["notes"]
    assert format_field_value(field, "as it is") == "as it is"
    assert get_annotation_name(list[str]) == "list[str]"
    assert serialize_for_json({"history": HISTORY})["history"]["messages"] == HISTORY.messages
