"""Code, Reasoning, Citations, Document, and types of a user's own."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex.core.errors import InputError
from dspex.core.identity import canonical
from dspex.program.adapters.chat import ChatAdapter
from dspex.program.adapters.json import JSONAdapter
from dspex.program.parts import content
from dspex.program.signature import Signature
from dspex.program.types.base import Type
from dspex.program.types.citations import Citations, Document
from dspex.program.types.code import Code
from dspex.program.types.history import History
from dspex.program.types.media import Image
from dspex.program.types.reasoning import Reasoning

PYTHON = "print('hi')"


class Place(Type):
    """A point, which a prompt has in words."""

    name: str
    size: int = 1

    def format(self) -> str:
        return f"{self.name} ({self.size})"


class Album(Type):
    """Has the default form: data, with parts in it."""

    title: str
    covers: list[Image]


class Grade(Type):
    """Is read from words."""

    points: int

    @classmethod
    def parse(cls, text: str) -> "Grade":
        return cls(points=text.count("*"))


@pytest.mark.parametrize(
    "text",
    [PYTHON, f"```python\n{PYTHON}\n```", f"  ```\n{PYTHON}\n```\n", f"````py\n{PYTHON}\n````", f"```py\n{PYTHON}```"],
)
def test_code_is_taken_out_of_a_fence(text):
    assert Code(text) == Code(code=PYTHON)
    assert Code["sql"](code=text).code == PYTHON


@pytest.mark.parametrize("wrong", [7, None, ["x"]])
def test_what_is_no_text_is_no_code(wrong):
    with pytest.raises(ValueError, match="Code is text"):
        Code["python"](code=wrong)


def test_a_language_makes_one_type():
    assert Code["sql"] is Code["sql"]
    assert Code["sql"].language == "sql"
    assert Code["sql"]("x") != Code["python"]("x")
    assert str(Code("x")) == "x"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("Here you are:\n```python\nx = 1\n```\nIt sets x.", "x = 1"),
        ("x = 1", "x = 1"),
        ("```\n```", ""),
        ("```python\n\n```", ""),
        ("````\n```\ninner\n```\n````", "```\ninner\n```"),
    ],
)
def test_code_is_found_in_a_reply(reply, code):
    assert Code.parse(reply).code == code


def test_several_blocks_that_differ_are_none():
    with pytest.raises(ValueError, match="one block of code, got 2"):
        Code.parse("```\na\n```\nor\n```\nb\n```")
    assert Code.parse("```\na\n```\nagain\n```\na\n```").code == "a"


HOSTILE = st.text(alphabet="`a\n [#]\\{}\"'", max_size=30) | st.text(max_size=20)


@given(HOSTILE, st.sampled_from([ChatAdapter(), JSONAdapter()]))
def test_any_code_comes_back_from_an_echo(text, adapter):
    signature = Signature("q -> code: Code['sql'], more: list[Code]", custom_types={"Code": Code})
    values = {"code": Code["sql"](text), "more": [Code(text)]}
    assert adapter.parse(signature, adapter.format_assistant_message_content(signature, values)) == values


def test_reasoning_is_a_str():
    made = Reasoning(content="step by step")
    assert isinstance(made, str)
    assert made == "step by step" == made.content
    assert (made + "!", made[:4], len(made), made.upper()) == ("step by step!", "step", 12, "STEP BY STEP")
    assert type(made.content) is type(made.toDict()) is str
    assert type(made + Reasoning(" by step")) is Reasoning
    assert type(made + "!") is str
    assert copy.deepcopy(made) == made
    assert {made: 1}["step by step"] == 1
    with pytest.raises(ValueError, match="text"):
        Reasoning(7)


def test_citations_are_a_sequence():
    rows = [{"cited_text": "a", "document_index": 1, "start_char_index": 0, "end_char_index": 1}, {"cited_text": "b"}]
    made = Citations.from_dict_list(rows)
    assert len(made) == 2
    assert [one.cited_text for one in made] == ["a", "b"]
    assert made[0].document_index == 1
    assert Citations.from_plain(made.toDict()) == Citations.from_plain(rows) == made
    with pytest.raises(InputError, match="cited_text"):
        Citations([{"text": "a"}])


def test_citations_are_read_from_a_reply():
    signature = Signature(
        "docs: list[Document] -> sources: Citations", custom_types={"Document": Document, "Citations": Citations}
    )
    reply = '[[ ## sources ## ]]\n{"citations": [{"cited_text": "It rains.", "document_title": "News"}]}'
    [one] = ChatAdapter().parse(signature, reply)["sources"]
    assert (one.cited_text, one.document_title) == ("It rains.", "News")
    [*_, asked] = ChatAdapter().format(signature, [], {"docs": [Document(data="It rains.", title="News")]})
    assert '[{"data":"It rains.","title":"News"}]' in asked["content"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Place(name="Rome"), "Rome (1)"),
        ([Place(name="Rome", size=3)], '["Rome (3)"]'),
        (Code(PYTHON), f"```python\n{PYTHON}\n```"),
        (Reasoning("so"), "so"),
        ({"why": Reasoning("so")}, '{"why":"so"}'),
        (Document(data="x"), '{"data":"x"}'),
    ],
)
def test_a_value_says_how_it_is_written(value, shown):
    assert content(value) == shown


def test_a_type_of_ones_own_is_a_checked_frozen_record():
    made = Place(name="Rome", size=2)
    assert (made.name, made.size) == ("Rome", 2)
    assert made == Place.from_plain({"name": "Rome", "size": 2}) != Place(name="Rome")
    assert repr(made) == "Place(name='Rome', size=2)"
    assert {made: 1}[Place(name="Rome", size=2)] == 1
    for wrong in ({"name": 7}, {}, {"name": "Rome", "more": 1}):
        with pytest.raises(ValueError, match=r"name|more"):
            Place(**wrong)


def test_its_parts_stand_in_its_data():
    picture = Image("https://host/a.png")
    assert content(Album(title="A", covers=[picture])) == [
        {"type": "text", "text": '{"title":"A","covers":['},
        *picture.format(),
        {"type": "text", "text": "]}"},
    ]


@pytest.mark.parametrize(
    ("kind", "reply", "value"),
    [
        (Place, '{"name": "Rome", "size": 3}', Place(name="Rome", size=3)),
        (Grade, "***", Grade(points=3)),
        (Code, "```python\nx\n```", Code("x")),
        (Reasoning, '"so"', Reasoning('"so"')),
    ],
)
def test_a_type_can_be_an_output(kind, reply, value):
    signature = Signature("q -> out: Kind, more: Kind | None", custom_types={"Kind": kind})
    text = f"[[ ## out ## ]]\n{reply}\n\n[[ ## more ## ]]\nnull"
    assert ChatAdapter().parse(signature, text) == {"out": value, "more": None}


def test_a_nested_schema_has_no_references():
    shown = str(Signature("q -> out: list[Album]", custom_types={"Album": Place}).compiled.output_schema)
    assert "$ref" not in shown


@pytest.mark.parametrize(
    "value",
    [Place(name="Rome"), Image("https://h/a"), Code("x"), Reasoning("so"), Citations([]), History([{"q": "x"}])],
)
def test_values_are_plain_in_keys(value: Any):
    assert canonical({"v": value}) == canonical({"v": value.toDict()})
