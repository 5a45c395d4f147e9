"""Messages and OpenAI's dictionaries: one form, both ways."""

import pytest

from dspex.core.dictionaries import to_dictionaries, to_message
from dspex.core.errors import ConfigurationError
from dspex.core.messages import Message, Text, ToolResult

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
PARTS = [
    {"type": "text", "text": "Look:"},
    {"type": "image_url", "image_url": {"url": "https://host/cat.png", "detail": "low"}},
    {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
    {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}},
    {"type": "file", "file": {"file_id": "f1"}},
]


@pytest.mark.parametrize(
    "given",
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": PARTS},
        {"role": "user", "content": PARTS[1:2]},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL, {**CALL, "id": "c2"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
        {"role": "user", "content": ""},
    ],
    ids=["text", "parts", "only-a-part", "calls", "only-calls", "result", "empty"],
)
def test_a_dictionary_comes_back_as_it_was(given):
    assert list(to_dictionaries(to_message(given))) == [given]


def test_text_alone_is_a_string():
    assert list(to_dictionaries(Message("user", (Text("a"), Text("b"))))) == [{"role": "user", "content": "ab"}]
    assert to_message({"role": "assistant", "content": None}) == Message.of("assistant", "")


def test_results_of_tools_are_turns_of_their_own_before_the_text():
    message = Message("user", (Text("Go on."), ToolResult("c1", "3"), ToolResult("c2", "4")))
    assert [turn["role"] for turn in to_dictionaries(message)] == ["tool", "tool", "user"]


def test_the_developer_is_the_system():
    assert to_message({"role": "developer", "content": "x"}) == Message.of("system", "x")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"role": "robot", "content": "x"}, "'robot'"),
        ({"content": "x"}, "None"),
        ({"role": "user", "content": [{"type": "video", "video": "x"}]}, "'video'"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "image_url"),
        ({"role": "user", "content": ["text"]}, "str"),
        ({"role": "user", "content": 7}, "int"),
        ({"role": "tool", "content": "3"}, "tool_call_id"),
        ({"role": "assistant", "tool_calls": [{"id": "c1"}]}, "function"),
    ],
)
def test_what_is_unknown_or_missing_is_named(given, named):
    with pytest.raises(ConfigurationError, match=named):
        to_message(given)
