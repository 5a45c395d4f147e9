"""What is sent: messages, tools, schemas and parameters in Google's form; and what is refused instead."""

import pytest

import dspex
from dspex.plugin import (
    Audio,
    AuthError,
    BadRequest,
    ConfigurationError,
    File,
    Image,
    Message,
    Text,
    ToolCall,
    ToolResult,
)

PIXEL = "data:image/png;base64,iVBORw0KGgo="
TOOL = {
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"x": {"type": "integer", "const": 1}}, "strict": True},
}
ANSWER = {"candidates": [{"content": {"parts": [{"text": "4"}]}, "finishReason": "STOP"}]}


@pytest.fixture
def sent(server, lm, ask):
    """The body of a request."""

    async def sent(*said, model="acme-1", options=None, **asked):
        server.then(200, json=ANSWER)
        await ask(lm(model, **options or {}), *said, **asked)
        return server.requests[-1].json

    return sent


async def test_turns_of_one_side_are_joined_and_the_systems_stand_apart(sent):
    turns = [
        Message.of("system", "Be brief."), Message.of("user", "Hi"), Message.of("user", "there"), Message.of("assistant", "Yes?"),
        Message.of("system", "Be kind."), Message.of("user", ""), Message.of("user", "Go on."),
    ]  # fmt: skip
    body = await sent(*turns)
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]}
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "Hi"}, {"text": "there"}]},
        {"role": "model", "parts": [{"text": "Yes?"}]},
        {"role": "user", "parts": [{"text": "Go on."}]},
    ]
    assert "generationConfig" not in body


async def test_media_go_inline_or_by_their_address(sent):
    parts = (
        Text("Look."), Image(PIXEL), Image("https://x.test/a.jpg?size=2"), Audio("UklG", "wav"),
        File("data:application/pdf;base64,JVBE", None, "p.pdf"), File(file_id="https://files.test/v1beta/files/f1"),
    )  # fmt: skip
    body = await sent(Message("user", parts))
    assert body["contents"][0]["parts"] == [
        {"text": "Look."},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
        {"fileData": {"fileUri": "https://x.test/a.jpg?size=2", "mimeType": "image/jpeg"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "UklG"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBE"}},
        {"fileData": {"fileUri": "https://files.test/v1beta/files/f1"}},
    ]


@pytest.mark.parametrize(("model", "signed"), [("gemini-2.5-pro", False), ("gemini-3-pro-preview", True)])
async def test_calls_and_their_results_go_back_with_the_tools_names(sent, model, signed):
    turns = [
        Message.of("user", "1 + 1?"),
        Message("assistant", (ToolCall("call_0", "add", '{"x": 1}'), ToolCall("f-7", "add", ""))),
        Message("tool", (ToolResult("call_0", "2"),)),
        Message("tool", (ToolResult("f-7", "no", is_error=True),)),
    ]
    first = {"functionCall": {"name": "add", "args": {"x": 1}}}
    signature = {"thoughtSignature": "skip_thought_signature_validator"} if signed else {}
    body = await sent(*turns, model=model)
    assert body["contents"][1:] == [
        {"role": "model", "parts": [first | signature, {"functionCall": {"name": "add", "args": {}, "id": "f-7"}}]},
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "add", "response": {"output": "2"}}},
                {"functionResponse": {"name": "add", "response": {"error": "no"}, "id": "f-7"}},
            ],
        },
    ]


async def test_tools_are_declared_beside_googles_own(sent):
    wrapped = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    body = await sent("Hi", tools=(TOOL, {"googleSearch": {}}, wrapped), tool_choice="required")
    properties = {"x": {"type": "integer", "enum": [1]}}
    add = {"name": "add", "description": "Adds.", "parametersJsonSchema": {"type": "object", "properties": properties}}
    assert body["tools"] == [{"functionDeclarations": [add, {"name": "now"}]}, {"googleSearch": {}}]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}


async def test_one_tool_may_be_asked_for_by_name(sent):
    body = await sent("Hi", tools=(TOOL,), tool_choice={"type": "function", "function": {"name": "add"}})
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["add"]}}


async def test_openais_names_become_googles(sent):
    body = await sent(
        "Hi", max_tokens=9, temperature=0.5, top_p=0.9, stop="#", seed=7, presence_penalty=0.1, frequency_penalty=0.2,
        logprobs=True, top_logprobs=3, topK=40, cachedContent="cachedContents/c", parallel_tool_calls=True,
    )  # fmt: skip
    assert body["generationConfig"] == {
        "maxOutputTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["#"], "seed": 7, "presencePenalty": 0.1,
        "frequencyPenalty": 0.2, "responseLogprobs": True, "logprobs": 3, "topK": 40,
    }  # fmt: skip
    assert body["cachedContent"] == "cachedContents/c"


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        ("gemini-2.5-flash", "low", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-3-pro-preview", "high", {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-2.0-flash", "none", {"thinkingBudget": 0}),
    ],
)
async def test_an_effort_is_told_as_the_model_wants_it(sent, model, effort, config):
    body = await sent("Hi", model=model, reasoning_effort=effort)
    assert body["generationConfig"]["thinkingConfig"] == config


async def test_a_handle_has_thinking_and_safety_of_its_own(sent):
    options = {"thinking": {"thinkingBudget": -1}, "safety": {"HARM_CATEGORY_HARASSMENT": "BLOCK_NONE"}}
    body = await sent("Hi", options=options)
    assert body["generationConfig"] == {"thinkingConfig": {"thinkingBudget": -1}}
    assert body["safetySettings"] == [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]


SCHEMA = {
    "type": "object",
    "$defs": {"Kind": {"type": "string", "const": "a"}},
    "properties": {
        "kind": {"$ref": "#/$defs/Kind"},
        "when": {"anyOf": [{"type": "string", "format": "date", "pattern": ".*"}, {"type": "null"}]},
        "many": {"type": ["integer", "null"], "default": 1},
        "rows": {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}},
    },
    "required": ["kind"],
    "additionalProperties": False,
}


async def test_a_schema_goes_as_it_is_without_words_that_google_refuses(sent):
    config = (await sent("Hi", schema=SCHEMA))["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"] == {
        **SCHEMA,
        "$defs": {"Kind": {"type": "string", "enum": ["a"]}},
        "properties": {
            "kind": {"$ref": "#/$defs/Kind"},
            "when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
            "many": {"type": ["integer", "null"]},
            "rows": {"type": "array", "items": {"type": "number"}},
        },
    }


async def test_an_older_model_is_sent_openapis_form(sent):
    config = (await sent("Hi", schema=SCHEMA, model="gemini-2.0-flash"))["generationConfig"]
    assert config["responseSchema"] == {
        "type": "object",
        "properties": {
            "kind": {"type": "string", "enum": ["a"]},
            "when": {"type": "string", "nullable": True},
            "many": {"type": "integer", "nullable": True},
            "rows": {"type": "array", "items": {"type": "number"}},
        },
        "required": ["kind"],
    }


@pytest.mark.parametrize(("model", "by_tool"), [("gemini-2.5-pro", True), ("gemini-3-pro", False)])
async def test_beside_tools_a_schema_is_one_more_for_models_that_take_no_both(sent, model, by_tool):
    body = await sent("Hi", schema=SCHEMA, tools=(TOOL,), model=model)
    assert ("generationConfig" in body) is not by_tool
    if by_tool:
        [function] = body["tools"][-1]["functionDeclarations"]
        assert function["parametersJsonSchema"]["required"] == ["kind"]
        assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}


LOOP = {"type": "object", "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}}}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"grammar": "root ::= x"}, "grammar"),
        ({"user": "u"}, "user"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tool_choice": "sometimes"}, "none of auto, none, required"),
        ({"reasoning_effort": "low"}, "not known to think first"),
        ({"reasoning_effort": "much"}, "none of none, minimal"),
        ({"model": "gemini-2.0-flash", "reasoning_effort": "low"}, "does not think first"),
        ({"model": "gemini-3-pro", "reasoning_effort": "none"}, "always thinks first"),
        ({"model": "gemini-2.5-pro", "schema": {"type": "array"}, "tools": (TOOL,)}, "json_schema"),
        ({"options": {"structured": "openapi"}, "schema": {**LOOP, "$ref": "#/$defs/Node"}}, "contains itself"),
        ({"options": {"structured": "openapi"}, "schema": {"$ref": "https://x.test/s"}}, "not in it"),
    ],
)
async def test_what_google_has_no_form_for_is_refused_and_not_sent(sent, server, asked, words):
    with pytest.raises(BadRequest, match=words):
        await sent("Hi", **asked)
    assert not server.requests


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Message.of("system", "Alone."), "user's turn"),
        (Message("user", (File(),)), "neither data nor an id"),
        (Message("user", (Image("data:image/png,abc"),)), "base64"),
        (Message("tool", (ToolResult("c1", "2"),)), "no such call"),
        (Message("assistant", (ToolCall("c1", "add", "[1]"),)), "no JSON object"),
    ],
)
async def test_a_message_that_cannot_be_sent_is_refused(sent, message, words):
    with pytest.raises(BadRequest, match=words):
        await sent(message)


async def test_several_completions_are_one_request_where_google_gives_them():
    assert dspex.LM("gemini/gemini-2.5-flash", api_key="k").capabilities.n is True
    assert dspex.LM("gemini/gemini-3-pro", api_key="k").capabilities.n is None
    assert dspex.LM("gemini/gemini-9", api_key="k").capabilities.tools is None


async def test_google_is_not_called_without_a_key(ask, quick):
    with pytest.raises(AuthError, match="GEMINI_API_KEY"):
        await ask(dspex.LM("gemini/gemini-2.5-flash", cache=False))
    with pytest.raises(AuthError, match="GEMINI_API_KEY"):
        await dspex.Embedder("gemini/gemini-embedding-001", caching=False).embed(["Hi"])


@pytest.mark.parametrize(("model", "path"), [("m", "/models/m"), ("tunedModels/x y", "/tunedModels/x%20y")])
async def test_a_model_of_ones_own_has_its_own_path(sent, server, model, path):
    await sent("Hi", model=model)
    assert server.requests[0].path == f"{path}:generateContent"


def test_a_wrong_option_is_named(lm):
    with pytest.raises(ConfigurationError, match="structured"):
        lm(structured="xml").capabilities  # noqa: B018


async def test_an_extra_body_is_more_of_the_body_and_no_field_of_it(sent):
    extra = {"cachedContent": {"a": "b"}, "generationConfig": {"topK": 3}}
    body = await sent("Hi", extra_body=extra, temperature=0.5)
    assert body["generationConfig"] == {"topK": 3, "temperature": 0.5}
    assert body["cachedContent"] == {"a": "b"}
    assert "extra_body" not in str(body)
