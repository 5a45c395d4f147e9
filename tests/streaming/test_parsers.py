"""Every adapter's fields while a reply comes: whatever the cuts and the values, the pieces joined are what is parsed at the end."""

import json
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dspex
from dspex.core.errors import AdapterParseError

ADAPTERS = {
    "chat": dspex.ChatAdapter(),
    "json": dspex.JSONAdapter(),
    "xml": dspex.XMLAdapter(),
    "plain": dspex.PlainAdapter(),
}
TWO = dspex.Signature("question -> reasoning, answer")
TYPED = dspex.Signature(
    "question -> number: int, kind: Literal['a b', 'c'], tags: list[str], maybe: str | None, answer",
    custom_types={"Literal": Literal},
)

MARKS = [
    *("[[ ## answer ## ]]", "\\[[ ## answer ## ]]", "[[ ## completed ## ]]", "[[", " ## "),
    *("<answer>", "</answer>", "<answer/>", "<reasoning a='b'>", "&lt;answer>", "&amp;lt;/answer>", "&", "&am", "<"),
    *("<![CDATA[", "]]>", "</", "<b>", "<question>"),
    *("Answer:", "\nAnswer: ", "\\Answer:", "\n\\\\Reasoning:", "Question:", "\n   Answer:", "Ans", "\nAns"),
    *(
        '"',
        "\\",
        '\\"',
        "\\u00e9",
        "\\n",
        "{",
        "}",
        '{"answer": 1}',
        '", "answer": "',
        "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    ),
    *("x", " ", "\n", "\t", "```", "**", "- ", "\u2028", "é", "\u017f", "\u212a"),
]
hostile = st.one_of(st.lists(st.sampled_from(MARKS), max_size=8).map("".join), st.text(max_size=20))
cuts = st.lists(st.integers(0, 10_000), max_size=12)


def cut(text, places):
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[one:other] for one, other in pairwise(edges)]


def written(adapter, signature, values):
    """A reply in an adapter's own form."""
    if adapter.name == "json":
        return json.dumps(values)
    reply = adapter.format_assistant_message_content(signature, values)
    return f"{reply}\n\n[[ ## completed ## ]]" if adapter.name == "chat" else reply


def parsed(adapter, signature, reply):
    try:
        return adapter.parse(signature, reply)
    except AdapterParseError:
        return None


def replies(signature, values):
    """By adapter a reply with these values, where it can be read."""
    found = [(adapter, written(adapter, signature, values)) for adapter in ADAPTERS.values()]
    return [(adapter, reply) for adapter, reply in found if parsed(adapter, signature, reply) is not None]


# Each example goes through all adapters: to draw four takes longer than what is tested.


@pytest.mark.slow
@settings(max_examples=80)
@given(hostile, hostile, cuts)
@example("\\Answer: x", "\\\\Answer:", [12, 13, 14, 15])
@example("<![CDATA[x]]>", "a <![CDATA[ </answer> ]]> b", [20, 21, 30])
def test_a_reply_in_our_form_is_heard_as_it_is_parsed_and_never_taken_back(heard, texts_of, reasoning, answer, places):
    for adapter, reply in replies(TWO, {"reasoning": reasoning, "answer": answer}):
        events, outputs = heard(TWO, cut(reply, places), adapter)
        assert texts_of(events) == outputs, adapter.name
        assert {event.version for event in events} == {0}, adapter.name


@settings(max_examples=40)
@given(hostile, hostile)
def test_a_reply_that_comes_by_characters_is_heard_as_one_that_comes_whole(heard, texts_of, reasoning, answer):
    for adapter, reply in replies(TWO, {"reasoning": reasoning, "answer": answer}):
        events, outputs = heard(TWO, list(reply), adapter)
        assert texts_of(events) == outputs, adapter.name
        assert {event.version for event in events} == {0}, adapter.name


FORMS = {
    "chat": [f"[[ ## {name} ## ]]\n" for name in ("reasoning", "answer", "question")],
    "json": ['{"reasoning": "', '", "answer": "', '"}', '{"answer": 4, "reasoning": [1, "]"]}', "```json\n", "Sure: "],
    "xml": ["<reasoning>", "</reasoning>", "<answer>", "</answer>", "\n"],
    "plain": ["Reasoning: ", "\nAnswer: ", "\nQuestion: "],
}


form = st.integers(0, max(map(len, FORMS.values())) - 1)  # which, of each adapter's own


@pytest.mark.slow
@settings(max_examples=100)
@given(st.lists(st.one_of(form, hostile), max_size=10), cuts)
def test_any_reply_that_parses_is_heard_as_it_is_parsed(heard, texts_of, parts, places):
    for adapter in ADAPTERS.values():
        forms = FORMS[adapter.name]
        reply = "".join(part if isinstance(part, str) else forms[part % len(forms)] for part in parts)
        if parsed(adapter, TWO, reply) is not None:
            events, outputs = heard(TWO, cut(reply, places), adapter)
            assert texts_of(events) == outputs, adapter.name


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
@pytest.mark.parametrize("value", ["null", '"null"', "", "4"])
def test_a_text_that_looks_like_something_else_decodes_to_itself(heard, texts_of, adapter, value):
    signature = dspex.Signature("question -> maybe: str | None, either: int | str, answer")
    reply = written(adapter, signature, {"maybe": value, "either": value, "answer": value})
    events, outputs = heard(signature, list(reply), adapter)
    found = texts_of(events)
    for field in signature.compiled.outputs:
        assert (found[field.name] if field.name == "answer" else field.decode(found[field.name])) == outputs[field.name]


TYPED_VALUES = st.fixed_dictionaries(
    {
        "number": st.integers(),
        "kind": st.sampled_from(["a b", "c"]),
        "tags": st.lists(hostile, max_size=3),
        "maybe": st.none() | hostile,
        "answer": hostile,
    }
)


@pytest.mark.slow
@settings(max_examples=100)
@given(TYPED_VALUES, cuts)
def test_a_field_that_is_no_text_decodes_to_its_value(heard, texts_of, values, places):
    for adapter, reply in replies(TYPED, values):
        events, outputs = heard(TYPED, cut(reply, places), adapter)
        found = texts_of(events)
        decoded = {f.name: f.decode(found[f.name]) for f in TYPED.compiled.outputs if f.name in found}
        assert decoded == {name: value for name, value in outputs.items() if name in found}, adapter.name
        assert {name for name, value in outputs.items() if value is not None} <= found.keys(), adapter.name


PIECES = {
    "chat": (["[[ ## reasoning ## ]]\n", "one", " two", " three", "\n[[ ## answer ## ]]\n", "4"], ["one", " two", " three", ""]),
    "json": (['{"reasoning": "', "one", " two", " \\u00e9", '", "answer": "4"}'], ["one", " two", " é", ""]),
    "xml": (["<reasoning>", "one", " two", " three", "</reasoning><answer>4</answer>"], ["one", " two", " three", ""]),
    "plain": ([" one", " two", " three", "\nAnswer: 4"], ["one", " two", " three", ""]),
}  # fmt: skip


@pytest.mark.parametrize("name", ADAPTERS)
def test_pieces_come_at_once_where_no_mark_can_begin(heard, name):
    pieces, wanted = PIECES[name]
    events, _ = heard(TWO, pieces, ADAPTERS[name])
    assert [event.text for event in events if event.field == "reasoning"] == wanted


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ("<reasoning>use the <answer> tag</reasoning><answer>4</answer>", "use the <answer> tag"),
        ("<reasoning>\n<![CDATA[<answer>a</answer>]]>\n</reasoning><answer>4</answer>", "<answer>a</answer>"),
        ("<reasoning>a <reasoning>b</reasoning> c</reasoning><answer>4</answer>", "a <reasoning>b</reasoning> c"),
        ("<Reasoning x='1'>a < b & c</REASONING>\n<answer>4</answer>", "a < b & c"),
    ],
    ids=["another's tag", "CDATA", "its own tags", "other case"],
)
def test_what_looks_like_tags_in_xml_is_heard_as_it_is_parsed(heard, texts_of, reply, wanted):
    events, outputs = heard(TWO, list(reply), ADAPTERS["xml"])
    assert texts_of(events) == outputs == {"reasoning": wanted, "answer": "4"}
    assert {event.version for event in events} == {0}


@pytest.mark.parametrize(
    "reply",
    [
        '```json\n{"reasoning": "a b", "answer": "4"}\n```',
        'Sure! {"Reasoning": "a b", "other": {"x": ["}"]}, "answer": 4}',
        "{'reasoning': 'a b', 'answer': '4'}",
        '{"reasoning": "a b", "reasoning": "a b", "answer": "4"}',
        '{"reasoning": "a\\u0020b", "answer": "4"} ',
    ],
    ids=["fence", "prose, case, more keys, a number", "Python's quotes", "a key twice", "escape"],
)
def test_other_forms_of_json_are_heard_as_they_are_parsed(heard, texts_of, reply):
    events, outputs = heard(TWO, list(reply), ADAPTERS["json"])
    assert texts_of(events) == outputs == {"reasoning": "a b", "answer": "4"}


HELD = {
    "chat": ("[[ ## reasoning ## ]]\nx", " "),
    "json": ('{"rea', "x"),
    "xml": ("<reasoning>x", " "),
    "plain": ("x", " "),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_what_is_held_back_is_bounded(name):
    parser = ADAPTERS[name].parser(TWO.compiled)
    begin, more = HELD[name]
    parser.feed(begin)
    for _ in range(2_000):
        parser.feed(10 * more)
    assert len(parser._pending) < 10_000


@pytest.mark.parametrize("broken", ["feed", "end"])
async def test_a_parser_that_fails_costs_its_pieces_and_no_call(streaming, reply, texts, broken):
    class Own(dspex.ChatAdapter):
        def parser(self, signature):
            inner = super().parser(signature)

            def fail(*args):
                raise KeyError("mine")

            return type("Mine", (), {"feed": inner.feed, "end": inner.end, broken: fail})()

    lm = dspex.LM("x/y", provider=streaming(reply(answer="four")), cache=False)
    with dspex.context(lm=lm, adapter=Own()), pytest.warns(RuntimeWarning, match="Mine failed.*mine"):
        events = [event async for event in dspex.Predict("question -> answer").astream(question="?")]
    assert texts(events) == {("self", "answer"): "four"}
    assert events[-1].prediction.answer == "four"


async def test_an_adapter_without_a_parser_gives_whole_fields(streaming, texts):
    class Bare(dspex.Adapter):
        name = "bare"

        def format(self, signature, demos, inputs):
            return [{"role": "user", "content": inputs["question"]}]

        def parse(self, signature, completion):
            return {"answer": completion}

    class Calling(Bare):
        async def acall(self, lm, lm_kwargs, signature, demos, inputs):
            return await super().acall(lm, lm_kwargs, signature, demos, inputs)

    for adapter in (Bare(), Calling()):
        lm = dspex.LM("x/y", provider=streaming("four"), cache=False)
        with dspex.context(lm=lm, adapter=adapter):
            events = [event async for event in dspex.Predict("question -> answer").astream(question="?")]
        assert [event.text for event in events[:-1]] == ["four"]
        assert texts(events) == {("self", "answer"): "four"}
