"""What is sent, and where: messages, tools, schemas and parameters in Ollama's form; and what is refused instead."""

import pytest

import dspex
from dspex.plugin import Audio, BadRequest, ConfigurationError, File, Image, Message, Text, ToolCall, ToolResult
from dspex_ollama.place import base_url

TOOL = {"name": "add", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}


@pytest.fixture
def sent(server, lm, ask, reply):
    """The body of a request."""

    async def sent(*said, model="acme-1", options=None, **asked):
        server.then(200, json=reply("4"))
        await ask(lm(model, **options or {}), *said, **asked)
        return server.requests[-1].json

    return sent


async def test_a_plain_question_is_a_plain_request(sent):
    message = {"role": "user", "content": "Hi"}
    assert await sent("Hi") == {"model": "acme-1", "stream": False, "truncate": False, "messages": [message]}


async def test_a_prompt_is_not_to_be_cut_unless_that_is_wanted(sent):
    assert (await sent("Hi"))["truncate"] is False
    assert (await sent("Hi", truncate=True, shift=False)).items() >= {"truncate": True, "shift": False}.items()


async def test_an_extra_body_is_more_of_the_body_and_no_field_of_it(sent):
    body = await sent("Hi", extra_body={"keep_alive": 5, "options": {"mirostat": 1}}, temperature=0.5)
    assert (body["keep_alive"], body["options"]) == (5, {"mirostat": 1, "temperature": 0.5})
    assert "extra_body" not in {**body, **body.get("options", {})}


CUT = {
    "error": '{"error":{"code":400,"message":"request (8889 tokens) exceeds the available context size (4096 tokens)"}}'
}
OLDER = {"error": "the input length exceeds the context length"}


@pytest.mark.parametrize("said", [CUT, OLDER], ids=["0.40", "0.12"])
async def test_a_prompt_that_is_too_long_is_told_with_what_makes_room(server, lm, ask, said):
    server.then(400, json=said)
    with pytest.raises(dspex.ContextWindowExceeded, match="num_ctx"):
        await ask(lm())


async def test_pictures_stand_beside_the_text(sent):
    body = await sent(Message("user", (Text("Look. "), Image("data:image/png;base64,iVBORw0K"), Text("There."))))
    assert body["messages"] == [{"role": "user", "content": "Look. There.", "images": ["iVBORw0K"]}]


async def test_calls_and_their_results_go_back(sent):
    turns = [
        Message.of("user", "1 + 1?"),
        Message("assistant", (Text("Wait."), ToolCall("c1", "add", '{"x": 1}'), ToolCall("c2", "add", ""))),
        Message("tool", (ToolResult("c1", "2"), ToolResult("c2", "no", is_error=True), ToolResult("c9", "?"))),
    ]
    calls = [
        {"id": "c1", "function": {"name": "add", "arguments": {"x": 1}}},
        {"id": "c2", "function": {"name": "add", "arguments": {}}},
    ]
    assert (await sent(*turns))["messages"][1:] == [
        {"role": "assistant", "content": "Wait.", "tool_calls": calls},
        {"role": "tool", "content": "2", "tool_call_id": "c1", "tool_name": "add"},
        {"role": "tool", "content": "Error: no", "tool_call_id": "c2", "tool_name": "add"},
        {"role": "tool", "content": "?", "tool_call_id": "c9"},
    ]


async def test_openais_names_become_ollamas(sent):
    body = await sent(
        "Hi", max_tokens=9, temperature=0.5, stop="#", seed=7, min_p=0.1, logprobs=3, parallel_tool_calls=True,
        tool_choice="auto", schema={"type": "object"},
        options={"num_ctx": 4096, "keep_alive": -1, "think": "low", "options": {"num_gpu": 1}},
    )  # fmt: skip
    drawing = {
        "num_gpu": 1,
        "num_ctx": 4096,
        "stop": ["#"],
        "num_predict": 9,
        "temperature": 0.5,
        "seed": 7,
        "min_p": 0.1,
    }
    assert body["options"] == drawing
    assert (body["logprobs"], body["top_logprobs"], body["keep_alive"], body["think"]) == (True, 3, -1, "low")
    assert body["format"] == {"type": "object"}


async def test_beside_tools_a_schema_is_left_to_the_prompt(sent):
    body = await sent("Hi", tools=(TOOL,), schema={"type": "object"})
    assert body["tools"] == [{"type": "function", "function": TOOL}]
    assert "format" not in body


async def test_no_tool_is_offered_where_none_shall_be_called(sent):
    assert "tools" not in await sent("Hi", tools=(TOOL,), tool_choice="none")


@pytest.mark.parametrize(
    ("model", "effort", "think"),
    [("qwen3", "low", True), ("qwen3", "none", False), ("gpt-oss:20b", "high", "high"), ("gpt-oss", "none", False)],
)
async def test_an_effort_is_told_as_the_model_wants_it(sent, model, effort, think):
    assert (await sent("Hi", model=model, reasoning_effort=effort))["think"] == think


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"grammar": "root ::= x"}, "grammar"),
        ({"user": "u"}, "user"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tool_choice": "required", "tools": (TOOL,)}, "tool_choice"),
        ({"reasoning_effort": "much"}, "none of none, low"),
    ],
)
async def test_what_ollama_has_no_form_for_is_refused_and_not_sent(sent, server, asked, words):
    with pytest.raises(BadRequest, match=words):
        await sent("Hi", **asked)
    assert not server.requests


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (Audio("UklG", "wav"), "audio"),
        (File("data:application/pdf;base64,JVBE"), "files"),
        (Image("https://x.test/a.png"), "images"),
        (ToolCall("c1", "add", "[1]"), "no JSON object"),
    ],
)
async def test_a_part_that_ollama_does_not_take_is_refused(sent, part, words):
    with pytest.raises(BadRequest, match=words):
        await sent(Message("user", (part,)))


@pytest.mark.parametrize(
    ("given", "host", "url"),
    [
        (None, None, "http://127.0.0.1:11434"),
        (None, "0.0.0.0", "http://127.0.0.1:11434"),
        (None, "gpu.test:99", "http://gpu.test:99"),
        (None, "https://gpu.test/", "https://gpu.test"),
        ("http://x.test:1/v1", "gpu.test", "http://x.test:1"),
        ("http://x.test:1/api/", None, "http://x.test:1"),
    ],
)
def test_the_address_is_read_as_ollama_reads_it(monkeypatch, given, host, url):
    if host:
        monkeypatch.setenv("OLLAMA_HOST", host)
    assert base_url(dspex.plugin.Endpoint("ollama", "m", given)) == url


async def test_a_key_goes_to_who_wants_one(server, lm, ask, reply):
    server.then(200, json=reply("4"))
    await ask(lm(api_key="sk-cloud"))
    assert server.requests[0].headers["authorization"] == "Bearer sk-cloud"


def test_a_wrong_option_is_named(lm):
    with pytest.raises(ConfigurationError, match="num_ctx"):
        lm(num_ctx="many").capabilities  # noqa: B018


@pytest.mark.parametrize(
    ("status", "shown", "tools"),
    [
        (200, {"capabilities": ["completion", "tools", "vision"]}, True),
        (200, {"capabilities": []}, False),
        (404, {}, None),
        (200, {}, None),
    ],
)
async def test_the_server_is_asked_once_what_the_model_can_do(server, lm, ask, reply, status, shown, tools):
    server.then(status, json=shown).then(200, json=reply("4"), times=None)
    model = lm(learn=True)
    for _ in range(2):
        assert (await ask(model)).text == "4"
    assert model.capabilities.tools is tools
    assert [request.path for request in server.requests] == ["/api/show", "/api/chat", "/api/chat"]
