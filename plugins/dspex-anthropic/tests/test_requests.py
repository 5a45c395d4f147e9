"""What is sent: read at a server on the loopback."""

from typing import Any

import pytest

import dspex
from dspex.plugin import Audio, BadRequest, ConfigurationError, File, Image, Message, Text, ToolCall, ToolResult
from dspex_anthropic.schemas import REPLY_TOOL

HI = {"content": [{"type": "text", "text": "Hi."}], "stop_reason": "end_turn"}
TOOL = {
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}},
}
NEW, OLD, THIRD = "claude-sonnet-5", "claude-sonnet-4", "claude-3-5-haiku-20241022"


@pytest.fixture
def sent(server, lm, ask):
    """The body of one request."""
    server.then(200, json=HI, times=None)

    async def sent(
        *said: Any, model: str = "acme-1", options: dict[str, Any] | None = None, **params: Any
    ) -> dict[str, Any]:
        await ask(lm(model, **(options or {})), *said, **params)
        return server.requests[-1].json

    return sent


async def test_text_and_parameters_go_out_in_anthropics_words(sent, server):
    body = await sent(
        Message.of("system", "Be brief."), "Hello?", temperature=0.5, stop="\n", top_k=3, user="u1", max_tokens=9
    )
    assert body == {
        "model": "acme-1",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello?"}]}],
        "temperature": 0.5,
        "stop_sequences": ["\n"],
        "top_k": 3,
        "metadata": {"user_id": "u1"},
    }
    [seen] = server.requests
    assert (seen.method, seen.path) == ("POST", "/v1/messages")
    assert seen.headers["anthropic-version"] == "2023-06-01"


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
async def test_an_address_may_end_in_v1_or_not(server, lm, ask, ending):
    server.then(200, json=HI)
    await ask(lm(api_base=server.url + ending))
    assert server.requests[0].path == "/v1/messages"


async def test_the_key_and_names_of_betas_are_headers(server, lm, ask):
    server.then(200, json=HI)
    await ask(lm(api_key="k1", beta="files-api-2025-04-14"))
    headers = server.requests[0].headers
    assert (headers["x-api-key"], headers["anthropic-beta"]) == ("k1", "files-api-2025-04-14")


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-3-haiku-20240307", 4_096), (THIRD, 8_192), ("claude-3-7-sonnet-latest", 64_000),
        ("claude-opus-4-1-20250805", 32_000), (OLD, 64_000), ("claude-haiku-4-5-20251001", 64_000),
        ("claude-opus-4-6", 128_000), (NEW, 128_000), ("claude-opus-5-5", 128_000), ("acme-1", 4_096),
    ],
)  # fmt: skip
async def test_a_reply_may_be_as_long_as_the_model_writes(sent, lm, model, most):
    assert (await sent(model=model))["max_tokens"] == most
    assert lm(model).capabilities.max_output_tokens == (None if model == "acme-1" else most)
    assert (await sent(model=model, max_completion_tokens=5))["max_tokens"] == 5


async def test_a_temperature_that_is_the_models_own_is_sent(sent):
    assert (await sent(model=NEW, temperature=1.0))["temperature"] == 1.0
    assert (await sent(model=OLD, temperature=0.0, top_k=3))["temperature"] == 0.0


async def test_system_messages_are_lifted_and_turns_of_one_side_are_one(sent):
    body = await sent(
        Message.of("system", "One."),
        Message.of("user", "Hi"),
        Message.of("system", "Two."),
        Message.of("user", "there"),
        Message.of("assistant", "Yes?"),
        Message("user", (Text(""), Text("Go."))),
    )
    assert [block["text"] for block in body["system"]] == ["One.", "Two."]
    turns = [(turn["role"], [block["text"] for block in turn["content"]]) for turn in body["messages"]]
    assert turns == [("user", ["Hi", "there"]), ("assistant", ["Yes?"]), ("user", ["Go."])]


async def test_pictures_and_papers_are_blocks(sent):
    parts = (
        Image("data:image/png;base64,AA"),
        Image("https://x.example/a.png", "low"),
        File("data:application/pdf;base64,JV", None, "a.pdf"),
        File("https://x.example/a.pdf"),
        File(file_id="file_1"),
    )
    [message] = (await sent(Message("user", parts)))["messages"]
    assert message["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}},
        {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JV"},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "url", "url": "https://x.example/a.pdf"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
    ]


async def test_tools_their_calls_and_their_results_go_both_ways(sent):
    asked = Message("assistant", (Text("Let me see."), ToolCall("c1", "add", '{"x":1}'), ToolCall("c2", "add", "")))
    told = Message("tool", (ToolResult("c1", "2"), ToolResult("c2", "failed", is_error=True)))
    wrapped = {"type": "function", "function": {**TOOL, "strict": True}}
    own = {"type": "web_search_20250305", "name": "web_search"}
    body = await sent("1+1?", asked, told, "Well?", tools=(TOOL, wrapped, own))
    form = {"name": "add", "description": "Adds.", "input_schema": TOOL["parameters"]}
    assert body["tools"] == [form, {**form, "strict": True}, own]
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "c1", "name": "add", "input": {"x": 1}},
                {"type": "tool_use", "id": "c2", "name": "add", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "2"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "failed", "is_error": True},
                {"type": "text", "text": "Well?"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("asked", "choice"),
    [
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": {"type": "function", "function": {"name": "add"}}}, {"type": "tool", "name": "add"}),
        ({"tool_choice": {"type": "tool", "name": "add"}}, {"type": "tool", "name": "add"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"tool_choice": "required", "parallel_tool_calls": False}, {"type": "any", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, None),
    ],
)
async def test_which_tool_to_call_is_said_in_anthropics_words(sent, asked, choice):
    assert (await sent(tools=(TOOL,), **asked)).get("tool_choice") == choice


async def test_what_prompts_have_in_common_is_marked_if_asked_for(sent):
    turns = [Message.of("system", "Be brief."), Message.of("user", "Hi"), Message.of("assistant", "Yes?"), "And?"]
    plain = await sent(*turns)
    assert "cache_control" not in str(plain)
    marked = await sent(*turns, options={"cache_prefix": "1h"})
    lasting = {"type": "ephemeral", "ttl": "1h"}
    assert marked["system"][-1]["cache_control"] == marked["messages"][1]["content"][-1]["cache_control"] == lasting
    assert str(marked).count("cache_control") == 2
    short = await sent(*turns, options={"cache_prefix": "5m"})
    assert short["system"][-1]["cache_control"] == {"type": "ephemeral"}


async def test_without_a_system_prompt_the_tools_are_marked(sent):
    body = await sent("Hi", tools=(TOOL, {**TOOL, "name": "sub"}), options={"cache_prefix": "5m"})
    assert ["cache_control" in tool for tool in body["tools"]] == [False, True]


async def test_demos_are_part_of_what_is_marked(server, lm):
    text = "[[ ## answer ## ]]\n4\n\n[[ ## completed ## ]]"
    server.then(200, json={"content": [{"type": "text", "text": text}], "stop_reason": "end_turn"}, times=None)
    predict = dspex.Predict("question -> answer")
    predict.demos = [dspex.Example(question=f"{n}+{n}?", answer=str(2 * n)) for n in (1, 2)]
    with dspex.context(lm=lm(cache_prefix="5m")):
        for question in ("3+3?", "4+4?"):
            await predict.acall(question=question)
    first, second = (seen.json["messages"] for seen in server.requests)
    assert first[:-1] == second[:-1]
    assert "cache_control" in first[-2]["content"][-1]


# How a model thinks


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "config"),
    [
        (NEW, "low", {"type": "adaptive", "display": "summarized"}, {"effort": "low"}),
        (NEW, "minimal", {"type": "adaptive", "display": "summarized"}, {"effort": "low"}),
        (NEW, "none", {"type": "disabled"}, None),
        (OLD, "low", {"type": "enabled", "budget_tokens": 1_024}, None),
        (OLD, "high", {"type": "enabled", "budget_tokens": 16_384}, None),
    ],
)
async def test_an_effort_is_said_as_the_model_takes_it(sent, model, effort, thinking, config):
    body = await sent(model=model, reasoning_effort=effort)
    assert (body["thinking"], body.get("output_config")) == (thinking, config)


async def test_a_budget_for_thinking_stays_below_max_tokens(sent):
    body = await sent(model=OLD, reasoning_effort="high", max_tokens=2_000)
    assert body["thinking"]["budget_tokens"] == 1_999
    with pytest.raises(BadRequest, match="raise max_tokens"):
        await sent(model=OLD, reasoning_effort="high", max_tokens=1_000)


async def test_thinking_is_set_for_a_handle_or_for_one_call(sent, lm):
    thinking = {"type": "enabled", "budget_tokens": 2_000}
    assert (await sent(options={"thinking": thinking}))["thinking"] == thinking
    assert (await sent(options={"thinking": thinking}, thinking={"type": "disabled"}))["thinking"]["type"] == "disabled"
    known = [lm(OLD, thinking=given).capabilities.reasoning for given in (thinking, {"type": "disabled"}, None)]
    assert known == [True, None, None]
    assert lm(THIRD).capabilities.reasoning is False


async def test_within_a_turn_of_calls_a_model_that_has_a_budget_goes_on_without_thinking(sent):
    called = Message("assistant", (ToolCall("c1", "add", "{}"),))
    turns = ("1+1?", called, Message("tool", (ToolResult("c1", "2"),)))
    budget, adaptive = {"type": "enabled", "budget_tokens": 2_000}, {"type": "adaptive"}
    assert "thinking" not in await sent(*turns, tools=(TOOL,), thinking=budget)
    assert (await sent(*turns, tools=(TOOL,), thinking=adaptive))["thinking"] == adaptive
    assert (await sent(*turns, Message.of("assistant", "2."), "Sure?", thinking=budget))["thinking"] == budget


# Schemas

INTEGER = {"type": "integer", "minimum": 0}
CLOSED = {
    "type": "object",
    "properties": {
        "items": {"type": "array", "items": {"$ref": "#/$defs/A"}, "maxItems": 3},
        "m": {"anyOf": [INTEGER, {"type": "null"}], "default": None},
    },
    "required": ["items"],
    "$defs": {"A": {"type": "object", "properties": {"at": {"type": "string", "format": "date"}}}},
}
OPEN = {
    "open-object": {"type": "object", "properties": {"n": {"type": "object", "additionalProperties": INTEGER}}},
    "any-object": {"type": "object", "properties": {"n": {"type": "object"}}},
    "tuple": {"type": "object", "properties": {"n": {"type": "array", "prefixItems": [INTEGER]}}},
    "anything": {"type": "object", "properties": {"n": True}},
    "a-tree": {
        "type": "object",
        "properties": {"n": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"type": "object", "properties": {"b": {"$ref": "#/$defs/B"}}},
                  "B": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}},
    },
}  # fmt: skip


async def test_a_schema_is_the_form_of_the_reply_where_the_api_can_hold_it_to_that(sent):
    body = await sent(model=NEW, schema=CLOSED)
    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {
                "items": {"type": "array", "items": {"$ref": "#/$defs/A"}},
                "m": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            },
            "required": ["items"],
            "additionalProperties": False,
            "$defs": {
                "A": {
                    "type": "object",
                    "properties": {"at": {"type": "string", "format": "date"}},
                    "additionalProperties": False,
                }
            },
        },
    }
    assert "tools" not in body


@pytest.mark.parametrize("schema", OPEN.values(), ids=OPEN.keys())
async def test_any_other_schema_is_a_tool_that_a_model_which_thinks_is_asked_to_call(sent, schema):
    body = await sent(model=NEW, schema=schema)
    [tool] = body["tools"]
    assert (tool["name"], tool["input_schema"]) == (REPLY_TOOL, schema)
    assert body["tool_choice"] == {"type": "auto"}
    assert "output_config" not in body


@pytest.mark.parametrize("model", [OLD, "acme-1"])
async def test_a_model_that_does_not_think_has_to_call_it(sent, model):
    body = await sent(model=model, schema=CLOSED)
    assert body["tool_choice"] == {"type": "tool", "name": REPLY_TOOL, "disable_parallel_tool_use": True}
    body = await sent(model=model, schema=CLOSED, tools=(TOOL,))
    assert [tool["name"] for tool in body["tools"]] == ["add", REPLY_TOOL]
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert (await sent(model=model, schema=CLOSED, thinking={"type": "adaptive"}))["tool_choice"] == {"type": "auto"}


async def test_the_way_of_a_schema_can_be_chosen(sent):
    assert "tools" in await sent(model=NEW, schema=CLOSED, options={"structured": "tool"})
    body = await sent(schema=OPEN["any-object"], options={"structured": "format"})
    assert body["output_config"]["format"]["schema"] == OPEN["any-object"]


async def test_a_predictor_in_json_form_reads_the_reply_that_came_by_tool(server, lm):
    call = {"type": "tool_use", "id": "t1", "name": REPLY_TOOL, "input": {"steps": ["boil"], "note": None}}
    server.then(200, json={"content": [call], "stop_reason": "tool_use"})
    with dspex.context(lm=lm(OLD), adapter="json"):
        found = await dspex.Predict("goal -> steps: list[str], note: str | None").acall(goal="tea")
    assert found.steps == ["boil"]
    assert server.requests[0].json["tools"][0]["input_schema"]["required"] == ["steps", "note"]


# Refusals


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"logprobs": 5}, "capability: logprobs"),
        ({"grammar": "root ::= x"}, "capability: grammar"),
        ({"seed": 1}, "capability: seed"),
        ({"response_format": {"type": "json_object"}}, "goes as schema"),
        ({"reasoning_effort": "low"}, r"acme-1 is not known to think first \(capability: reasoning\)"),
        ({"reasoning_effort": "low", "model": THIRD}, "does not think first"),
        ({"reasoning_effort": "a lot"}, "is none of none, minimal"),
        ({"temperature": 0.0, "model": NEW}, r"claude-sonnet-5 takes no temperature but its own"),
        ({"top_k": 3, "model": "claude-opus-4-7"}, "capability: top_k"),
        ({"tool_choice": "sometimes"}, "is none of auto, none, required"),
        ({"schema": {"type": "array", "items": INTEGER}}, "JSON object.*json_schema"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_what_the_api_has_no_form_for_is_refused_by_name(sent, server, asked, why):
    with pytest.raises(BadRequest, match=why):
        await sent("Hi", **asked)
    assert not server.requests


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (Message("user", (Audio("UklG", "wav"),)), "capability: audio"),
        (Message("user", (File("data:text/csv;base64,QQ"),)), "not 'text/csv'.*capability: files"),
        (Message("user", (File(),)), "neither data nor an id"),
        (Message("user", (Image("data:image/png,raw"),)), "base64 only"),
        (Message("assistant", (ToolCall("c1", "add", '{"x": '),)), "'add' has arguments that are no JSON object"),
        (Message("assistant", (ToolCall("c1", "add", "[1]"),)), "no JSON object"),
        (Message.of("user", ""), "needs a user's turn"),
        (Message.of("system", "Be brief."), "needs a user's turn"),
    ],
    ids=["audio", "csv", "no-file", "raw", "half-json", "a-list", "empty", "system-only"],
)
async def test_a_part_that_the_api_does_not_take_is_refused(sent, message, why):
    with pytest.raises(BadRequest, match=why):
        await sent(message)


@pytest.mark.parametrize("options", [{"cache_prefix": "2h"}, {"structured": "yes"}, {"thinking": "hard"}])
def test_a_wrong_option_is_a_configuration_error(lm, options):
    with pytest.raises(ConfigurationError, match=f"anthropic provider is wrong.*{next(iter(options))}"):
        lm(**options).service  # noqa: B018  made at first use


async def test_anthropic_itself_is_not_called_without_a_key(ask):
    with pytest.raises(dspex.AuthError, match="ANTHROPIC_API_KEY"):
        await ask(dspex.LM(f"anthropic/{NEW}", cache=False, num_retries=0))


async def test_an_extra_body_is_more_of_the_body_and_no_field_of_it(sent):
    body = await sent("Hi", extra_body={"metadata": {"a": "b"}})
    assert body["metadata"] == {"a": "b"}
    assert "extra_body" not in str(body)
