"""A program as a DSPy user writes it: a conversation about pictures, typed in and out, with each adapter."""

from typing import Optional

import pydantic
import pytest

import dspex
from dspex.testing import DummyLM


class Step(pydantic.BaseModel):
    says: str
    formula: Optional[str] = None  # noqa: UP045  as programs have it


class Explain(dspex.Signature):
    """Explain the picture to the pupil, in steps."""

    history: dspex.History = dspex.InputField()
    picture: dspex.Image = dspex.InputField(desc="of the blackboard")
    question: str = dspex.InputField()
    steps: list[Step] = dspex.OutputField()
    program: dspex.Code["python"] = dspex.OutputField()  # noqa: F821  no forward reference
    grade: int = dspex.OutputField(ge=1, le=6)


class Tutor(dspex.Module):
    def __init__(self):
        super().__init__()
        self.explain = dspex.Predict(Explain)
        self.turns = []

    def forward(self, picture, question):
        reply = self.explain(history=dspex.History(messages=self.turns), picture=picture, question=question)
        self.turns.append({"question": question, "steps": reply.steps, "program": reply.program, "grade": reply.grade})
        return reply


STEPS = '[{"says": "Add them", "formula": "1+1"}, {"says": "Done"}]'
PROGRAM = "```python\nprint(1 + 1)\n```"
PICTURE = "https://example.com/board.png"


def parts_of(message):
    return [part["type"] for part in message["content"]] if isinstance(message["content"], list) else ["text"]


@pytest.mark.parametrize("name", ["ChatAdapter", "JSONAdapter", "XMLAdapter"])
def test_a_conversation_goes_on_in_any_form(name):
    adapter = getattr(dspex, name)()
    steps = [{"says": "Add them", "formula": "1+1"}, {"says": "Done"}] if name == "JSONAdapter" else STEPS
    answer = {"steps": steps, "program": PROGRAM, "grade": 2}
    lm = DummyLM([answer, answer], adapter=adapter)
    tutor = Tutor()
    with dspex.context(lm=lm, adapter=adapter):
        tutor(picture=dspex.Image(PICTURE), question="What is this?")
        reply = tutor(picture=dspex.Image(PICTURE), question="And this?")
    assert reply.steps == [Step(says="Add them", formula="1+1"), Step(says="Done")]
    assert reply.program.code == "print(1 + 1)"
    assert reply.grade == 2
    messages = lm.history[-1]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert "What is this?" in str(messages[1]["content"])
    assert "Add them" in str(messages[2]["content"])
    assert "image_url" in parts_of(messages[-1])
    assert PICTURE in str(messages[-1]["content"])


def test_without_history_and_picture_list_there_is_one_turn():
    lm = DummyLM([{"best": "1"}])
    with dspex.context(lm=lm):
        compare = dspex.Predict("pictures: list[dspex.Image], note: Optional[str] -> best: int")
        assert compare(pictures=[dspex.Image(PICTURE), dspex.Image(PICTURE)], note=None).best == 1
    assert parts_of(lm.history[-1]["messages"][-1]).count("image_url") == 2


def test_an_adapter_formats_and_parses_by_itself():
    adapter = dspex.ChatAdapter()
    signature = dspex.Signature("question -> answer: int")
    messages = adapter.format(signature, [{"question": "1+1?", "answer": 2}], {"question": "2+2?"})
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert adapter.parse(signature, "[[ ## answer ## ]]\n4\n\n[[ ## completed ## ]]") == {"answer": 4}
