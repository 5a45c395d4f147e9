"""Fields out of a chat reply while it comes: whatever the cuts, the pieces joined are what is parsed at the end."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dspex
from dspex.core.errors import AdapterParseError

CHAT = dspex.ChatAdapter()
TWO = dspex.Signature("question -> reasoning, answer")
TYPED = dspex.Signature("question -> answer: int, tags: list[str]")

HOSTILE = [
    "",
    "[[x]]",
    "use [[x]] and [[ ## foo ## ]] so",
    "[[ ## answer ## ]]",
    "\\[[ ## answer ## ]]\\\n\\\\[[ ## completed ## ]]",
    "- a\n> [[ b\n** [[ ## c\n\n\n  [[ ##",
    "trailing [",
    "tab\t\\[[ #",
    "line\n\n[[\n## answer ##\n]]",
    "[[ ## completed ## ]]",
    "**bold**",
    "é\u2028ü\x0b [[ ##reasoning## ]]",
]
hostile = st.one_of(
    st.sampled_from(HOSTILE),
    st.lists(st.sampled_from(["[", "]", "[[", " ## ", "answer", "\\", "\n", " ", "*", "-", "x y", "completed"])).map(
        "".join
    ),
    st.text(max_size=20),
)


def cut(text, places):
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[one:other] for one, other in pairwise(edges)]


@settings(max_examples=60)
@given(hostile, hostile, st.lists(st.integers(0, 10_000), max_size=12))
def test_a_reply_in_our_form_is_heard_as_it_is_parsed_wherever_it_is_cut(heard, texts_of, reasoning, answer, places):
    reply = CHAT.format_assistant_message_content(TWO, {"reasoning": reasoning, "answer": answer})
    items, outputs = heard(TWO, cut(f"{reply}\n\n[[ ## completed ## ]]", places))
    assert texts_of(items) == outputs
    assert {item.version for item in items} == {0}


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_is_lost_when_each_character_is_a_piece(heard, texts_of, text):
    reply = CHAT.format_assistant_message_content(TWO, {"reasoning": text, "answer": text})
    items, outputs = heard(TWO, list(f"{reply}\n\n[[ ## completed ## ]]\n"))
    assert texts_of(items) == outputs == {"reasoning": text.strip(), "answer": text.strip()}
    assert {item.version for item in items} == {0}


@settings(max_examples=60)
@given(
    st.lists(
        st.one_of(hostile, st.sampled_from([f"[[ ## {name} ## ]]\n" for name in ("reasoning", "answer", "question")])),
        max_size=8,
    ),
    st.sampled_from(["", "\n", "\n\n"]),
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_any_reply_that_parses_is_heard_as_it_is_parsed(heard, texts_of, parts, between, places):
    reply = f"[[ ## reasoning ## ]]{between}".join(["", between.join(parts)]) + f"{between}[[ ## answer ## ]]\n4"
    try:
        CHAT.parse(TWO, reply)
    except AdapterParseError:
        return
    items, outputs = heard(TWO, cut(reply, places))
    assert texts_of(items) == outputs


@pytest.mark.parametrize(
    "reply",
    [
        "[[ ## reasoning ## ]] a b [[ ## answer ## ]] 4 [[ ## completed ## ]]",
        "[[ ## reasoning ## ]] a b\n[[ ## answer ## ]] 4 [[ ## completed ## ]]\n",
        "**[[ ## reasoning ## ]]**\na b\n\n### [[ ## ANSWER ## ]]\n4",
        "Sure!\n\n[[ ## reasoning ## ]]\na b\n[[ ## answer ## ]]\n4\n\n[[ ## completed ## ]]\n\n",
        '{"reasoning": "a b", "answer": "4"}',
        "[[ ## reasoning ## ]]\nx\n[[ ## answer ## ]]\n1\n[[ ## reasoning ## ]]\na b\n[[ ## answer ## ]]\n4\n",
        "[[ ## answer ## ]]\n4\n[[ ## reasoning ## ]]\na b\n",
    ],
    ids=["one line", "end beside", "decorated", "preamble", "JSON", "two sets", "other order"],
)
def test_other_forms_are_heard_as_they_are_parsed(heard, texts_of, reply):
    items, outputs = heard(TWO, list(reply))
    assert texts_of(items) == outputs == {"reasoning": "a b", "answer": "4"}


def test_a_field_that_is_no_text_is_heard_as_the_model_writes_it(heard, texts_of):
    reply = '[[ ## answer ## ]]\n 42\n\n[[ ## tags ## ]]\n["a",\n "b"]\n\n[[ ## completed ## ]]'
    items, outputs = heard(TYPED, list(reply))
    assert outputs == {"answer": 42, "tags": ["a", "b"]}
    assert texts_of(items) == {"answer": "42", "tags": '["a",\n "b"]'}


def test_pieces_come_at_once_where_no_marker_can_begin(heard):
    items, _ = heard(TWO, ["[[ ## reasoning ## ]]\n", "one", " two", " three", "\n[[ ## answer ## ]]\n", "4"])
    assert [item.text for item in items if item.field == "reasoning"] == ["one", " two", " three", ""]
