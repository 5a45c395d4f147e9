"""What is sent: read at a server on the loopback."""

from typing import Any

import msgspec
import pytest

import dspex
from dspex.plugin import Audio, BadRequest, ConfigurationError, File, Image, Message, Text, ToolCall, ToolResult

HI = {"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]}


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


async def test_text_and_parameters_go_out_as_they_are(sent, server):
    body = await sent(Message.of("system", "Be brief."), "Hello?", temperature=0.5, stop=["\n"], top_k=3)
    assert body == {
        "model": "acme-1",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}],
        "temperature": 0.5,
        "stop": ["\n"],
        "top_k": 3,
    }
    assert server.requests[0].method == "POST"
    assert server.requests[0].path == "/v1/chat/completions"


async def test_pictures_sound_and_files_are_parts_of_a_message(sent):
    parts = (
        Text("What is it?"),
        Image("data:image/png;base64,AA"),
        Audio("UklG", "wav"),
        File(file_id="f1"),
        File("data:x", None, "a.pdf"),
    )
    [message] = (await sent(Message("user", parts)))["messages"]
    assert message == {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
            {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
            {"type": "file", "file": {"file_id": "f1"}},
            {"type": "file", "file": {"file_data": "data:x", "filename": "a.pdf"}},
        ],
    }


async def test_tools_their_calls_and_their_results_go_both_ways(sent):
    tool = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}}
    asked = Message("assistant", (Text("Let me see."), ToolCall("c1", "add", '{"a":1}'), ToolCall("c2", "add", "{}")))
    told = Message("tool", (ToolResult("c1", "3"), ToolResult("c2", "failed", is_error=True)))
    body = await sent("1+2?", asked, told, tools=(tool, {"type": "function", "function": tool}), tool_choice="auto")
    function = {"type": "function", "function": tool}
    call = {"type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    assert body["tools"] == [function, function]
    assert body["tool_choice"] == "auto"
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [{"id": "c1", **call}, {"id": "c2", **call, "function": {"name": "add", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
        {"role": "tool", "tool_call_id": "c2", "content": "failed"},
    ]


async def test_a_call_without_text_has_null_content(sent):
    body = await sent(
        "?", Message("assistant", (ToolCall("c1", "f", "{}"),)), Message("tool", (ToolResult("c1", "1"),))
    )
    assert body["messages"][1]["content"] is None


INTEGER = {"type": "integer", "minimum": 0}
STRICT = {
    "one-object": {"title": "The Answer!", "type": "object", "properties": {"n": INTEGER}, "required": ["n"]},
    "nested": {
        "type": "object",
        "properties": {"items": {"type": "array", "items": {"$ref": "#/$defs/A"}}, "m": {"anyOf": [INTEGER, {"type": "null"}]}},
        "required": ["m", "items"],
        "$defs": {"A": {"type": "object", "properties": {"n": INTEGER}, "required": ["n"]}},
    },
}  # fmt: skip
LOOSE = {
    "optional-property": {"type": "object", "properties": {"n": INTEGER}, "required": []},
    "open-object": {"type": "object", "properties": {"n": {"type": "object", "additionalProperties": INTEGER}}, "required": ["n"]},
    "default": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}, "required": ["n"]},
    "not-an-object": {"type": "array", "items": INTEGER},
    "tuple": {"type": "object", "properties": {"n": {"type": "array", "prefixItems": [INTEGER], "items": False}}, "required": ["n"]},
}  # fmt: skip


@pytest.mark.parametrize("schema", STRICT.values(), ids=STRICT.keys())
async def test_a_schema_that_can_be_strict_is_closed_and_strict(sent, schema):
    form = (await sent(schema=schema))["response_format"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["strict"] is True
    assert form["json_schema"]["name"] == ("TheAnswer" if "title" in schema else "reply")
    assert form["json_schema"]["schema"]["additionalProperties"] is False
    assert (
        form["json_schema"]["schema"].get("$defs", {}).get("A", {"additionalProperties": False})["additionalProperties"]
        is False
    )


@pytest.mark.parametrize("schema", LOOSE.values(), ids=LOOSE.keys())
async def test_any_other_schema_goes_out_unchanged_as_a_wish(sent, schema):
    form = (await sent(schema=schema))["response_format"]["json_schema"]
    assert form == {"name": "reply", "schema": schema, "strict": False}


async def test_a_predictor_in_json_form_asks_for_a_strict_reply(server, lm):
    server.then(
        200, json={"choices": [{"message": {"content": '{"steps": [], "note": null}'}, "finish_reason": "stop"}]}
    )
    step = msgspec.defstruct("Step", [("text", str)])
    signature = dspex.Signature("goal -> steps: list[Step], note: str | None", custom_types={"Step": step})
    with dspex.context(lm=lm(server="vllm"), adapter="json"):
        assert (await dspex.Predict(signature).acall(goal="tea")).steps == []
    form = server.requests[-1].json["response_format"]["json_schema"]
    assert form["strict"] is True
    assert form["schema"]["required"] == ["steps", "note"]
    assert form["schema"]["$defs"]["Step"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("model", "name"),
    [("gpt-4o", "max_tokens"), ("acme-1", "max_tokens"), ("o3", "max_completion_tokens"), ("o4-mini", "max_completion_tokens"),
     ("gpt-5-mini", "max_completion_tokens"), ("openai/gpt-5.1", "max_completion_tokens"), ("olmo-2", "max_tokens")],
)  # fmt: skip
async def test_models_that_think_first_have_another_name_for_max_tokens(sent, model, name):
    body = await sent(model=model, max_tokens=9)
    assert {key for key in body if key.startswith("max_")} == {name}


@pytest.mark.parametrize(
    ("given", "body"),
    [(5, {"logprobs": True, "top_logprobs": 5}), (True, {"logprobs": True}), (False, {"logprobs": False})],
)
async def test_a_number_of_logprobs_is_short_for_two_parameters(sent, given, body):
    assert {key: value for key, value in (await sent(logprobs=given)).items() if "logprobs" in key} == body


async def test_several_choices_are_one_request_where_the_server_is_known_to_take_n(server, lm, ask):
    server.then(200, json={"choices": [{"index": i, "message": {"content": str(i)}} for i in (2, 0, 1)]})
    reply = await ask(lm(server="vllm"), n=3)
    assert [choice.text for choice in reply.choices] == ["0", "1", "2"]
    assert server.requests[0].json["n"] == 3


@pytest.mark.parametrize(
    ("name", "body"),
    [("llamacpp", {"grammar": "root ::= [a-z]"}), ("vllm", {"structured_outputs": {"grammar": "root ::= [a-z]"}})],
)
async def test_a_grammar_takes_the_form_of_the_server(sent, name, body):
    sent_body = await sent(options={"server": name}, grammar="root ::= [a-z]")
    assert {key: value for key, value in sent_body.items() if key in ("grammar", "structured_outputs")} == body


async def test_a_grammar_for_a_server_not_said_to_take_one_is_refused_before_the_call(sent, server):
    with pytest.raises(BadRequest, match=r"grammar.*server='llamacpp'"):
        await sent(grammar="root ::= [a-z]")
    assert not server.requests


@pytest.mark.fault("X05")
@pytest.mark.parametrize("text", ["\ud800", "a\x00b\u202e"], ids=["surrogate", "nul-and-rtl"])
async def test_strange_text_is_sent_or_refused_before_the_call(sent, server, text):
    try:
        body = await sent(text)
    except BadRequest:
        assert not server.requests
    else:
        assert body["messages"][0]["content"] == text


async def test_a_parameter_that_has_no_json_form_is_refused_before_the_call(sent, server):
    with pytest.raises(BadRequest, match=r"JSON|cannot be sent"):
        await sent(user=object())
    assert not server.requests


@pytest.mark.parametrize(
    "option",
    [{"server": "ollama"}, {"stream_usage": "no"}, {"organization": 7}],
    ids=["server", "stream_usage", "organization"],
)
def test_a_wrong_option_is_named_when_the_model_is_first_used(lm, option):
    with pytest.raises(ConfigurationError, match=next(iter(option))):
        _ = lm(**option).capabilities


async def test_key_organization_and_project_are_headers(server, sent):
    await sent(options={"api_key": "sk-1", "organization": "org-1", "project": "p-1", "headers": {"X-Team": "blue"}})
    wanted = {"authorization": "Bearer sk-1", "openai-organization": "org-1", "openai-project": "p-1", "x-team": "blue"}
    assert wanted.items() <= server.requests[0].headers.items()


async def test_a_users_own_authorization_header_wins(server, sent):
    await sent(options={"api_key": "sk-1", "headers": {"Authorization": "Basic abc"}})
    assert server.requests[0].headers["authorization"] == "Basic abc"


async def test_without_a_key_none_is_sent(server, sent):
    await sent()
    assert "authorization" not in server.requests[0].headers


async def test_key_and_address_come_from_the_environment(server, ask, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", " sk-env\n")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/gateway/v1/")
    server.then(200, json=HI)
    assert (await ask(dspex.LM("openai/acme-1", cache=False))).text == "Hi."
    assert server.requests[0].path == "/gateway/v1/chat/completions"
    assert server.requests[0].headers["authorization"] == "Bearer sk-env"


async def test_openai_without_a_key_says_what_to_do_and_sends_nothing(ask):
    with pytest.raises(dspex.AuthError, match=r"set OPENAI_API_KEY or pass api_key=.*api_base="):
        await ask(dspex.LM("openai/gpt-4o", cache=False))


KNOWN = {
    "gpt-4o": {"json_schema": True, "images": True, "reasoning": False, "n": True, "max_output_tokens": 16_384},
    "gpt-4o-2024-08-06": {"json_schema": True},
    "gpt-4o-2024-05-13": {"json_schema": False, "max_output_tokens": 4_096},
    "gpt-4.1-nano": {"max_output_tokens": 32_768},
    "gpt-5-mini": {"reasoning": True, "logprobs": False, "n": None},
    "o3-mini": {"reasoning": True, "images": False},
    "gpt-3.5-turbo": {"json_schema": False, "tools": True},
}


@pytest.mark.parametrize(("model", "wanted"), KNOWN.items(), ids=KNOWN.keys())
def test_openais_own_models_are_known_by_name(model, wanted):
    capabilities = dspex.LM(f"openai/{model}").capabilities
    assert {name: getattr(capabilities, name) for name in wanted} == wanted
    assert capabilities.chat is capabilities.stream is True
    assert capabilities.grammar is False


@pytest.mark.parametrize("model", ["gpt-4o-ultra", "acme-1", "gpt-4o-audio-preview"])
def test_a_model_that_is_not_known_may_do_anything(model):
    assert dspex.LM(f"openai/{model}").capabilities == dspex.Capabilities()


def test_a_known_name_at_another_address_is_another_model(lm):
    assert lm("gpt-4o").capabilities == dspex.Capabilities()
