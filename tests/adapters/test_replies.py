"""How a reply is read: exact, then tolerant where the meaning is certain, else an error that tells the fault."""

from typing import Any

import pytest

from dspex.core.errors import AdapterParseError
from dspex.program.adapters.chat import ChatAdapter
from dspex.program.adapters.json import JSONAdapter
from dspex.program.adapters.plain import PlainAdapter
from dspex.program.signature import Signature

CHAT, JSON, PLAIN = ADAPTERS = ChatAdapter(), JSONAdapter(), PlainAdapter()
QA = Signature("question -> reasoning, answer: int")
WANTED = {"reasoning": "because", "answer": 4}


@pytest.mark.parametrize(
    "reply",
    [
        "[[ ## reasoning ## ]]\nbecause\n\n[[ ## answer ## ]]\n4\n\n[[ ## completed ## ]]",
        "[[ ## reasoning ## ]]\nbecause\n\n[[ ## answer ## ]]\n4",
        "\n[[ ## reasoning ## ]] because\n[[ ## answer ## ]] 4 [[ ## completed ## ]]\n",
        "Sure:\n\n[[ ## reasoning ## ]]\nbecause\n[[ ## answer ## ]]\n**4**\n[[ ## completed ## ]]\nBye!",
        "[[ ## answer ## ]]\n4\n\n[[ ## reasoning ## ]]\nbecause",
        "[[ ## Reasoning ## ]]\nbecause\n[[##ANSWER##]]\n4",
        "**[[ ## reasoning ## ]]**\nbecause\n### [[ ## answer ## ]]\n4",
        "[[ ## reasoning ## ]] because [[ ## answer ## ]] 4 [[ ## completed ## ]]",
        "[[ ## reasoning ## ]]\ndraft\n[[ ## answer ## ]]\n3\n\n[[ ## reasoning ## ]]\nbecause\n[[ ## answer ## ]]\n4",
        "[[ ## answer ## ]]\n3\n[[ ## reasoning ## ]]\nbecause\n[[ ## answer ## ]]\n4",
        "[[ ## reasoning ## ]]\nbecause\n[[ ## answer ## ]]\n4\n[[ ## reasoning ## ]]\ncut of",
        "[[ ## reasoning ## ]]\nbecause\n[[ ## answer ## ]]\n4\n\n[[ ## completed ## ]]\n\n[[ ## question ## ]]\nNext?\n[[ ## reasoning ## ]]\nmade up\n[[ ## answer ## ]]\n5\n\n[[ ## completed ## ]]",
        '{"reasoning": "because", "answer": 4}',
        '```json\n{"reasoning": "because", "answer": "4"}\n```',
    ],
)
def test_chat_reads_the_last_full_set(reply):
    assert CHAT.parse(QA, reply) == WANTED


def test_a_field_keeps_markers_of_no_field():
    reply = "[[ ## reasoning ## ]]\nsee\n[[ ## note ## ]]\nthere\n\n[[ ## answer ## ]]\n4"
    assert CHAT.parse(QA, reply)["reasoning"] == "see\n[[ ## note ## ]]\nthere"


def test_a_section_that_nobody_asked_for_is_no_part_of_a_value_that_is_no_text():
    two = Signature("question -> score: int, tags: list[str]")
    reply = '[[ ## score ## ]]\n4\n\n[[ ## note ## ]]\nhm\n\n[[ ## tags ## ]]\n["a"]\n\n[[ ## confidence ## ]]\nhigh'
    assert CHAT.parse(two, reply) == {"score": 4, "tags": ["a"]}
    with pytest.raises(AdapterParseError, match="score"):
        CHAT.parse(two, reply.replace("\n4\n", "\nfour\n"))


@pytest.mark.parametrize(
    "reply",
    [
        '{"reasoning": "because", "answer": 4}',
        'Here:\n```json\n{"Reasoning": "because", "ANSWER": "4", "more": 1}\n```\nDone.',
        "{'reasoning': 'because', 'answer': 4,}",
        'My answer is {"answer": 4.0, "reasoning": "because"}.',
    ],
)
def test_json_reads_an_object(reply):
    assert JSON.parse(QA, reply) == WANTED


@pytest.mark.parametrize(
    "reply",
    [
        " because\nAnswer: 4",
        "because\nAnswer: 4\n\nQuestion: next?\nReasoning: x\nAnswer: 5",
        "Reasoning: because\nAnswer: 4",
        "\nreasoning: because\nanswer:4",
        " because\nAnswer: 4\nAnswer: 5",
    ],
)
def test_plain_reads_lines_up_to_the_next_example(reply):
    assert PLAIN.parse(QA, reply) == WANTED


def test_plain_keeps_further_lines_of_a_value():
    assert PLAIN.parse(Signature("a -> b"), " one\n\ntwo: three\n") == {"b": "one\n\ntwo: three"}


@pytest.mark.parametrize(
    ("adapter", "reply", "field", "words"),
    [
        (CHAT, "No more responses", "reasoning", "field `reasoning`: it is missing"),
        (CHAT, "", "reasoning", "it is missing"),
        (CHAT, "[[ ## reasoning ## ]]\nbecause", "answer", "field `answer`: it is missing"),
        (CHAT, "[[ ## reasoning ## ]]\nx\n\n[[ ## answer ## ]]\nfour", "answer", "expected an integer, got 'four'"),
        (CHAT, "[[ ## reasoning ## ]]\nsaid \\[[ ## answer ## ]] 4", "answer", "it is missing"),
        (JSON, "no object", None, "it is not JSON"),
        (JSON, '{"reasoning": "because", "answer": 4', None, "cut off"),
        (JSON, "[1]", None, "it is no object"),
        (JSON, '{"reasoning": "because", "answer": null}', "answer", "expected an integer"),
        (JSON, '{"reasoning": "x", "answer": 1} or {"reasoning": "x", "answer": 2}', None, "broken"),
        (PLAIN, " because", "answer", "it is missing"),
        (PLAIN, " because\nAnswer: 4\nor 5", "answer", "expected an integer"),
    ],
)
def test_a_reply_that_does_not_fit_says_where(adapter, reply, field, words):
    with pytest.raises(AdapterParseError, match=words) as caught:
        adapter.parse(QA, reply)
    error = caught.value
    assert (error.adapter_name, error.signature, error.lm_response, error.field) == (
        type(adapter).__name__,
        QA,
        reply,
        field,
    )


def test_what_could_be_read_is_kept_with_the_error():
    with pytest.raises(AdapterParseError) as caught:
        CHAT.parse(QA, "[[ ## reasoning ## ]]\nbecause\n[[ ## answer ## ]]\nx")
    assert caught.value.parsed_result == {"reasoning": "because"}


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_optional_outputs_may_be_absent(adapter):
    signature = Signature("q -> a, note: str | None")
    assert adapter.parse(
        signature, adapter.format_assistant_message_content(QA, {"reasoning": "x"}).replace("reasoning", "a")
    ) == {
        "a": "x",
        "note": None,
    }


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_asking_again_shows_the_reply_the_fault_and_the_form(adapter):
    with pytest.raises(AdapterParseError) as caught:
        adapter.parse(QA, "nonsense")
    reply, asked = adapter.reask(QA, "nonsense", caught.value)
    assert (reply.role, reply.text, asked.role) == ("assistant", "nonsense", "user")
    assert str(caught.value.__cause__) in asked.text
    assert "It was" not in asked.text
    assert {"chat": "[[ ## answer ## ]]\n{answer}", "json": '"answer": ...', "plain": "Answer: {answer}"}[
        adapter.name
    ] in asked.text


def test_another_adapters_form_may_be_asked_for():
    with pytest.raises(AdapterParseError) as caught:
        CHAT.parse(QA, "nonsense")
    assert "field `reasoning`: it is missing" in JSON.reask(QA.compiled, "nonsense", caught.value)[1].text


@pytest.mark.parametrize(
    ("adapter", "reply", "complete"),
    [
        (CHAT, "[[ ## answer ## ]]\n4\n\n[[ ## completed ## ]]\n", True),
        (CHAT, "[[ ## answer ## ]]\n4", False),
        (CHAT, "[[ ## answer ## ]]\nuse \\[[ ## completed ## ]]", False),
        (JSON, '{"answer": 4}', True),
        (JSON, '```\n{"answer": 4}\n```', True),
        (JSON, '{"answer": 4', False),
        (PLAIN, "4", False),
    ],
)
def test_whether_a_reply_came_to_its_end(adapter, reply, complete):
    assert adapter.is_complete(QA, reply) is complete


def test_the_json_fallback_is_on_unless_it_is_switched_off():
    assert CHAT.use_json_adapter_fallback
    assert not ChatAdapter(use_json_adapter_fallback=False).use_json_adapter_fallback


def test_a_class_and_its_compiled_form_are_read_alike():
    reply: Any = "[[ ## reasoning ## ]]\nbecause\n[[ ## answer ## ]]\n4"
    assert CHAT.parse(QA.compiled, reply) == CHAT.parse(QA, reply)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "1,5"),
        ("int", "3 or 4"),
        ("int", "1 234"),
        ("int", "12.500"),
        ("float", "1,234"),
        ("float", "12 %"),
        ("bool", "yes, but"),
        ("bool", "not true"),
        ("Literal['good', 'bad']", "not bad"),
        ("Literal['good', 'bad']", "good or bad"),
        ("list[str]", '["a", "b'),
        ("list[str]", '["a" "b"'),
        ("list[int]", "[1, 2, ...]"),
        ("list[int]", "[1 2]"),
        ("list[int]", "[1] or [2]"),
        ("dict[str, int]", '{"a": 1, "a": 2}'),
        ("dict[str, int]", "{'a': 1, 'a': 2}"),
        ("dict[str, int]", '{"a": 1, "b"}'),
        ("dict[str, str]", "{a: 3 or 4}"),
        ("dict[str, str]", "{a: 1,500}"),
        ("dict[str, dict[str, int]]", '{"a": {"x": 1, "x": 2}}'),
        ("dict[str, int]", '```json\n{"a": 1}\n```\nor\n```json\n{"a": 2}\n```'),
    ],
)
def test_what_may_mean_two_things_is_never_read(kind, text):
    signature = Signature(f"q -> answer: {kind}")
    with pytest.raises(AdapterParseError, match="field `answer`") as caught:
        CHAT.parse(signature, f"[[ ## answer ## ]]\n{text}\n\n[[ ## completed ## ]]")
    assert caught.value.parsed_result == {}


@pytest.mark.parametrize(
    "reply",
    [
        '{"answer": 4, "answer": 5}',
        '{"Answer": 4, "ANSWER": 5}',
        '```json\n{"answer": 4}\n```\nNo:\n```json\n{"answer": 5}\n```',
        '{"answer": 4} {"answer": 5}',
        '{"answer": 4',
        "{'answer': 4, 'answer': 5}",
    ],
)
def test_an_object_with_two_answers_or_half_of_one_is_never_read(reply):
    with pytest.raises(AdapterParseError):
        JSON.parse(Signature("q -> answer: int"), reply)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "```\n4\n```", 4),
        ("int", "```text\n4\n```", 4),
        ("bool", "**Yes**", True),
        ("int", "1,234", 1234),
        ("float", "1,234.5", 1234.5),
        ("Literal['in_stock', 'sold out']", "In Stock", "in_stock"),
        ("list[int]", "Here: ```json\n[1, 2,]\n```", [1, 2]),
        ("list[int]", "```\n[1]\n```\nthat is\n```\n[1]\n```", [1]),
        ("dict[str, int]", '{"a": 1, "a": 1}', {"a": 1}),
        ("dict[str, bool]", "{'a': True,}", {"a": True}),
    ],
)
def test_what_means_one_thing_is_read_without_a_further_call(kind, text, value):
    reply = f"[[ ## answer ## ]]\n{text}\n\n[[ ## completed ## ]]"
    assert CHAT.parse(Signature(f"q -> answer: {kind}"), reply) == {"answer": value}


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ('{"answer": 1.10}', "1.10"),
        ("{'Answer': 1.50,}", "1.50"),
        ('{"answer": 1e3}', "1e3"),
        ('{"answer": 12345678901234567890123}', "12345678901234567890123"),
        ('{"answer": 7}', "7"),
        ('{"answer": true}', "true"),
    ],
)
def test_a_number_for_a_text_stays_as_it_was_written(reply, text):
    assert JSON.parse(Signature("q -> answer"), reply) == {"answer": text}
