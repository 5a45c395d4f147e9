"""XML: values stand between tags as they are, and what a model writes between tags is read."""

from typing import Any

import msgspec
import pydantic
import pytest

import dspex
from dspex.core.errors import AdapterParseError
from dspex.program.adapters.xml import XMLAdapter
from dspex.program.signature import Signature
from dspex.testing import DummyLM

XML = XMLAdapter()
QA = Signature("question -> reasoning, answer: int")
WANTED = {"reasoning": "because", "answer": 4}


class Person(msgspec.Struct):
    name: str
    age: int = 0


class Tree(msgspec.Struct):
    name: str
    kids: "list[Tree]" = []


class Node(pydantic.BaseModel):
    name: str
    nodes: list["Node"] = []


def answer_of(kind: Any) -> Any:
    return Signature({"q": dspex.InputField(), "p": (kind, dspex.OutputField())})


@pytest.mark.parametrize(
    "reply",
    [
        "<reasoning>\nbecause\n</reasoning>\n\n<answer>\n4\n</answer>",
        "<reasoning>because</reasoning><answer>4</answer>",
        "<answer>4</answer> <reasoning>because</reasoning>",
        "<Reasoning>because</REASONING>\n<ANSWER type='int'>**4**</answer >",
        "Sure!\n```xml\n<reply>\n<reasoning>because</reasoning>\n<answer>4</answer>\n</reply>\n```\nBye.",
        "I close with <answer> as asked.\n<reasoning>because</reasoning>\n<answer>4</answer>",
        "<reasoning>because</reasoning>\n<answer>4",
        "<reasoning>draft</reasoning><answer>3</answer>\n<reasoning>because</reasoning><answer>4</answer>",
        "<reasoning>because</reasoning><answer>4</answer>\n<question>Next?</question><reasoning>x</reasoning><answer>5</answer>",
        "<reasoning><![CDATA[because]]></reasoning><answer><![CDATA[ 4 ]]></answer>",
        '{"reasoning": "because", "answer": 4}',
    ],
)
def test_tags_are_read(reply):
    assert XML.parse(QA, reply) == WANTED


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Tom & Jerry &co", "Tom & Jerry &co"),
        ("a &amp; b &lt; c &nbsp;", "a &amp; b &lt; c &nbsp;"),
        ("if a < b and c > d:", "if a < b and c > d:"),
        ("<b>bold</b> <br> <answers>", "<b>bold</b> <br> <answers>"),
        ("<answer>inner</answer>", "<answer>inner</answer>"),
        ("see </answer>", "see </answer>"),
        ("<![CDATA[ a </reasoning> b ]]>", " a </reasoning> b "),
        ("<![CDATA[a]]> and <![CDATA[b]]>", "<![CDATA[a]]> and <![CDATA[b]]>"),
    ],
)
def test_text_stays_as_it_is(text, value):
    reply = f"<reasoning>\n{text}\n</reasoning>\n<answer>4</answer>"
    assert XML.parse(QA, reply) == {"reasoning": value, "answer": 4}


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("4", "field `reasoning`: it is missing"),
        ("<answer>4</answer>", "field `reasoning`: it is missing"),
        ("<reasoning>because\n<answer>4</answer>", "`<reasoning>` is not closed"),
        ("because</reasoning><answer>4</answer>", "`</reasoning>` closes nothing"),
        ("<reasoning>a</reasoning> b</reasoning>\n<answer>4</answer>", "closes nothing"),
        ("Put it in <answer>4", "it is missing"),
        ("<reasoning>x</reasoning><answer>3 or 4</answer>", "field `answer`: expected an integer"),
        ("<reasoning>x</reasoning><answer/>", "field `answer`: expected an integer"),
    ],
)
def test_what_is_not_certain_is_an_error(reply, words):
    with pytest.raises(AdapterParseError, match=words) as caught:
        XML.parse(QA, reply)
    assert caught.value.lm_response == reply


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Person, '{"name": "Ada", "age": 36}', Person("Ada", 36)),
        (Person, "<name>Ada</name>\n<age>36</age>", Person("Ada", 36)),
        (Person, "<Person><name>Ada</name></Person>", Person("Ada")),
        (Person | None, "<name>Ada</name>", Person("Ada")),
        (Person | None, "null", None),
        (int | Person, "3", 3),
        (int | Person, "<name>Ada</name>", Person("Ada")),
        (list[Person], "<item><name>A</name></item><item><name>B</name></item>", [Person("A"), Person("B")]),
        (list[str], "<tag>a</tag><tag>b</tag>", ["a", "b"]),
        (dict[str, int], "<a>1</a><b>2</b>", {"a": 1, "b": 2}),
        (Tree, "<name>a</name><kids><Tree><name>b</name></Tree></kids>", Tree("a", [Tree("b")])),
        (Tree, "<name>a</name><kids><name>b</name></kids><kids><name>c</name></kids>", Tree("a", [Tree("b"), Tree("c")])),
        (Node, "<name>a</name><nodes><node><name>b</name></node></nodes>", Node(name="a", nodes=[Node(name="b")])),
        (bool, "Yes", True),
        (str | None, "<b>x</b>", "<b>x</b>"),
        (int | str, "<b>x</b>", "<b>x</b>"),
        (Any, "<b>x</b>", "<b>x</b>"),
    ],
)  # fmt: skip
def test_structures_are_read_from_json_or_from_tags(kind, text, value):
    assert XML.parse(answer_of(kind), f"<p>\n{text}\n</p>") == {"p": value}


@pytest.mark.parametrize(
    "text",
    [
        "<name>a</name><name>b</name>",
        "<name>a",
        '<!DOCTYPE x [<!ENTITY e "ha">]><name>&e;</name>',
        "<name>a</name><age>old</age>",
    ],
)
def test_tags_that_do_not_fit_are_an_error(text):
    with pytest.raises(AdapterParseError):
        XML.parse(answer_of(Person), f"<p>{text}</p>")


def test_a_tag_in_a_value_is_hidden_from_all_messages():
    signature = Signature("question -> answer", "Answer it.")
    demos = [{"question": "what is <question>?", "answer": "it opens; </answer> closes; &lt;answer> hides"}]
    _, asked, answered, main = XML.format(signature, demos, {"question": "a < b & </question> <ANSWER x='1'> <b>"})
    assert asked["content"] == "<question>\nwhat is &lt;question>?\n</question>"
    assert answered["content"] == "<answer>\nit opens; &lt;/answer> closes; &amp;lt;answer> hides\n</answer>"
    assert main["content"] == (
        "<question>\na < b & &lt;/question> &lt;ANSWER x='1'> <b>\n</question>\n\nReply with `<answer>`."
    )


def test_a_program_runs_by_it_by_name():
    with dspex.context(lm=DummyLM([{"reasoning": "because", "answer": 4}], adapter=XML), adapter="xml"):
        predict = dspex.Predict(QA)
        assert predict(question="2 + 2?").answer == 4
    assert DummyLM([{"answer": "a </answer> b", "n": 1}], adapter=XML)("?") == [
        "<answer>\na &lt;/answer> b\n</answer>\n\n<n>\n1\n</n>"
    ]


@pytest.mark.parametrize(
    ("reply", "complete"), [("<answer>4</answer>\n", True), ("<answer>4", False), ("</ANSWER>", True)]
)
def test_a_reply_ends_with_its_last_closing_tag(reply, complete):
    assert XML.is_complete(QA, reply) is complete


def test_a_flood_of_tags_is_read_in_bounded_time():
    for reply in (
        "<answer>" * 20_000,
        "</answer>" * 20_000,
        "<answer " * 20_000,
        "<answer>\n" * 20_000,
        "<![CDATA[" * 20_000,
        "<question></question>" * 20_000,
    ):
        with pytest.raises(AdapterParseError):
            XML.parse(QA, reply)
