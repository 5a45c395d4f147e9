"""What is sent: messages, tools, schemas and parameters in the API's form; and what is refused instead."""

import json

import pytest
from botocore.session import Session
from botocore.validate import validate_parameters

from dspex.plugin import Audio, BadRequest, ConfigurationError, File, Image, Message, Text, ToolCall, ToolResult

TOOL = {
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}},
}
ADD = {"toolSpec": {"name": "add", "description": "Adds.", "inputSchema": {"json": TOOL["parameters"]}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


CONVERSE = Session().get_service_model("bedrock-runtime").operation_model("Converse").input_shape  # AWS's own


@pytest.fixture
def sent(server, lm, ask, reply):
    """The body of a request."""

    async def sent(*said, model="acme-1", options=None, **asked):
        server.then(200, json=reply("4"))
        await ask(lm(model, **options or {}), *said, **asked)
        body = server.requests[-1].json
        validate_parameters({"modelId": model, **in_bytes(body)}, CONVERSE)
        return body

    return sent


def in_bytes(value):
    """A body as AWS's model of the service knows it: what travels as base64 is bytes."""
    if isinstance(value, list):
        return [in_bytes(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: one.encode() if name == "bytes" else in_bytes(one) for name, one in value.items()}


async def test_a_plain_question_is_a_plain_request(sent):
    assert await sent("Hi") == {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}


async def test_turns_of_one_side_are_joined_and_the_systems_stand_apart(sent):
    turns = [
        Message.of("system", "Be brief."), Message.of("user", "Hi"), Message.of("user", ""), Message.of("user", "there"),
        Message("assistant", (Text("Wait."), ToolCall("c1", "add", '{"x": 1}'))),
        Message("tool", (ToolResult("c1", "2"),)), Message("tool", (ToolResult("c2", "no", is_error=True),)),
    ]  # fmt: skip
    body = await sent(*turns)
    assert body["system"] == [{"text": "Be brief."}]
    assert body["messages"] == [
        {"role": "user", "content": [{"text": "Hi"}, {"text": "there"}]},
        {
            "role": "assistant",
            "content": [{"text": "Wait."}, {"toolUse": {"toolUseId": "c1", "name": "add", "input": {"x": 1}}}],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "c1", "content": [{"text": "2"}]}},
                {"toolResult": {"toolUseId": "c2", "content": [{"text": "no"}], "status": "error"}},
            ],
        },
    ]


async def test_media_are_blocks(sent):
    parts = (
        Image("data:image/jpg;base64,/9j/"), Image("s3://bucket/a.webp"), Audio("UklG", "wav"),
        File("data:application/pdf;base64,JVBE", None, "my_paper.v2.pdf"), File(file_id="s3://bucket/b.docx"),
    )  # fmt: skip
    assert (await sent(Message("user", parts)))["messages"][0]["content"] == [
        {"image": {"format": "jpeg", "source": {"bytes": "/9j/"}}},
        {"image": {"format": "webp", "source": {"s3Location": {"uri": "s3://bucket/a.webp"}}}},
        {"audio": {"format": "wav", "source": {"bytes": "UklG"}}},
        {"document": {"format": "pdf", "name": "my-paper-v2", "source": {"bytes": "JVBE"}}},
        {"document": {"format": "docx", "name": "document", "source": {"s3Location": {"uri": "s3://bucket/b.docx"}}}},
    ]


async def test_parameters_go_where_the_api_has_them_and_all_others_to_the_model(sent):
    body = await sent(
        "Hi", max_tokens=9, temperature=0.5, top_p=0.9, stop="#", top_k=40, thinking={"type": "enabled"},
        serviceTier={"type": "flex"}, parallel_tool_calls=True, options={"guardrail": {"guardrailIdentifier": "g"}},
    )  # fmt: skip
    assert body["inferenceConfig"] == {"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["#"]}
    assert body["additionalModelRequestFields"] == {"top_k": 40, "thinking": {"type": "enabled"}}
    assert body["serviceTier"] == {"type": "flex"}
    assert body["guardrailConfig"] == {"guardrailIdentifier": "g"}


@pytest.mark.parametrize(
    ("choice", "theirs"),
    [
        ("auto", {"auto": {}}), ("required", {"any": {}}), ({"any": {}}, {"any": {}}),
        ({"type": "function", "function": {"name": "add"}}, {"tool": {"name": "add"}}),
    ],
)  # fmt: skip
async def test_tools_and_the_choice_among_them(sent, choice, theirs):
    body = await sent("Hi", tools=(TOOL, {"cachePoint": {"type": "default"}}), tool_choice=choice)
    assert body["toolConfig"] == {"tools": [ADD, {"cachePoint": {"type": "default"}}], "toolChoice": theirs}


async def test_a_schema_is_the_apis_format_where_the_model_has_it(sent):
    body = await sent("Hi", schema=SCHEMA, model="us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    form = body["outputConfig"]["textFormat"]
    assert form["type"] == "json_schema"
    assert json.loads(form["structure"]["jsonSchema"]["schema"]) == SCHEMA


@pytest.mark.parametrize(
    ("asked", "choice"),
    [
        ({}, {"tool": {"name": "reply_in_this_form"}}),
        ({"tools": (TOOL,)}, {"any": {}}),
        ({"thinking": {"type": "enabled"}}, {"auto": {}}),
    ],
)
async def test_a_schema_is_a_tool_elsewhere(sent, asked, choice):
    config = (await sent("Hi", schema=SCHEMA, **asked))["toolConfig"]
    assert config["tools"][-1]["toolSpec"]["inputSchema"] == {"json": SCHEMA}
    assert config["toolChoice"] == choice


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"seed": 1}, "seed"), ({"reasoning_effort": "low"}, "thinking="), ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tools": (TOOL,), "tool_choice": "none"}, "tool_choice"), ({"tools": (TOOL,), "tool_choice": "x"}, "none of auto"),
        ({"schema": {"type": "array"}}, "json_schema"),
    ],
)  # fmt: skip
async def test_what_the_api_has_no_form_for_is_refused_and_not_sent(sent, server, asked, words):
    with pytest.raises(BadRequest, match=words):
        await sent("Hi", **asked)
    assert not server.requests


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Message.of("system", "Alone."), "user's turn"),
        (Message("user", (File(),)), "neither data nor an id"),
        (Message("user", (Image("https://x.test/a.png"),)), "s3://"),
        (Message("assistant", (ToolCall("c1", "add", "[1]"),)), "no JSON object"),
    ],
)
async def test_a_message_that_cannot_be_sent_is_refused(sent, message, words):
    with pytest.raises(BadRequest, match=words):
        await sent(message)


def test_a_wrong_option_is_named(lm):
    with pytest.raises(ConfigurationError, match="structured"):
        lm(structured="xml").capabilities  # noqa: B018


@pytest.mark.parametrize(
    ("model", "tools", "images"),
    [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", True, True),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-micro-v1:0", True, False),
        ("meta.llama3-8b-instruct-v1:0", False, False),
        ("meta.llama3-1-8b-instruct-v1:0", True, False),
        ("acme.model-1", None, None),
    ],
)
def test_what_is_known_of_a_model_is_told(lm, model, tools, images):
    capabilities = lm(model).capabilities
    assert (capabilities.tools, capabilities.images, capabilities.n) == (tools, images, False)


async def test_an_extra_body_is_more_of_the_body_and_no_field_of_it(sent):
    body = await sent("Hi", extra_body={"requestMetadata": {"a": "b"}})
    assert body["requestMetadata"] == {"a": "b"}
    assert "extra_body" not in str(body)
