"""Services like OpenAI by their names, and Azure: where requests go, with which key, and what is renamed or refused."""

import os
import re

import msgspec
import pytest

import dspex
from dspex.plugin import (
    Audio,
    BadRequest,
    ConfigurationError,
    Endpoint,
    File,
    HttpReply,
    LMRequest,
    Message,
    Secret,
    Text,
    ToolCall,
    ToolResult,
)
from dspex_openai.making import make_azure_embedder, make_azure_lm, make_embedder, make_lm
from dspex_openai.presets import PRESETS

ANSWER = b'{"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]}'
WHOLE = b'{"status": "completed", "output": [{"type": "message", "content": [{"text": "Hi."}]}]}'
TEXT = b'{"choices": [{"text": "Hi.", "finish_reason": "stop"}]}'
VECTORS = b'{"data": [{"embedding": "AACAPwAAAEA="}]}'


class Told:
    """An HttpClient that notes where it is sent, and what it shows there."""

    def __init__(self, reply=ANSWER):
        self.reply = reply
        self.seen = []

    async def request(self, method, path, *, json=None, body=None, headers={}, is_final=False):  # noqa: B006
        self.seen.append((path, dict(headers), json))
        return HttpReply(200, {}, self.reply)


def endpoint(provider, model="acme-1", base_url=None, key="sk-1", **options):
    return Endpoint(provider, model, base_url, Secret(key) if key else None, {}, options)


def asking(**params):
    return LMRequest("acme-1", (Message.of("user", "Hi"),), params)


@pytest.mark.parametrize("name", PRESETS)
async def test_a_service_is_called_at_its_address_with_its_key(name):
    http = Told()
    await make_lm(endpoint(name), http).complete(asking())
    [(url, headers, body)] = http.seen
    assert url == f"{PRESETS[name].base_url}/chat/completions"
    assert headers == {"authorization": "Bearer sk-1"}
    assert body == {"model": "acme-1", "messages": [{"role": "user", "content": "Hi"}]}


async def test_a_users_address_goes_before_that_of_a_variable_and_of_the_service(monkeypatch):
    monkeypatch.setenv("GROQ_API_BASE", "http://proxy.test/v1/")
    for given, base in ((None, "http://proxy.test/v1"), ("http://mine.test", "http://mine.test")):
        http = Told()
        provider = make_lm(endpoint("groq", base_url=given), http)
        await provider.complete(asking())
        assert http.seen[0][0] == f"{base}/chat/completions"
        assert provider.base_url == base


async def test_a_service_of_ones_own_needs_no_key():
    http = Told()
    await make_lm(endpoint("lm_studio", key=None), http).complete(asking())
    assert http.seen[0][1] == {}


async def test_names_that_a_service_has_otherwise_are_changed():
    http = Told()
    await make_lm(endpoint("mistral"), http).complete(asking(seed=7, temperature=0.5))
    assert http.seen[0][2] | {"messages": None} == {
        "model": "acme-1", "messages": None, "random_seed": 7, "temperature": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(("name", "param"), [("mistral", "logprobs"), ("groq", "logit_bias"), ("deepseek", "seed")])
async def test_what_a_service_lacks_is_refused_by_its_name(name, param):
    http = Told()
    provider = make_lm(endpoint(name), http)
    with pytest.raises(BadRequest, match=f"{PRESETS[name].summary} has no '{param}' .capability: {param}"):
        await provider.complete(asking(**{param: 1}))
    with pytest.raises(BadRequest, match=param):
        [delta async for delta in provider.stream(asking(**{param: 1}))]
    assert not http.seen


def using_tools(schema=None):
    called = ToolCall("call_0_0", "look_up", "{}")
    ours = ToolCall("a1B2c3D4e", "look_up", "{}")
    turns = (
        Message.of("user", "Hi"),
        Message("assistant", (called, ours)),
        Message("tool", (ToolResult("call_0_0", "x"), ToolResult("a1B2c3D4e", "y"))),
        Message.of("assistant", "Well."),
    )
    return LMRequest("acme-1", turns, {}, schema=schema)


async def test_mistral_is_sent_ids_of_nine_letters_and_its_own_as_they_are():
    http = Told()
    await make_lm(endpoint("mistral"), http).complete(using_tools())
    _, asked, *results, _ = http.seen[0][2]["messages"]
    ids = [call["id"] for call in asked["tool_calls"]]
    assert [result["tool_call_id"] for result in results] == ids
    assert ids[1] == "a1B2c3D4e"
    assert re.fullmatch("[a-zA-Z0-9]{9}", ids[0])


async def test_mistral_is_sent_sound_and_documents_in_its_own_forms():
    http = Told()
    parts = (
        Text("Hi"),
        Audio("AAAA", "mp3"),
        File("data:application/pdf;base64,AA", filename="a.pdf"),
        File(file_id="f"),
    )
    await make_lm(endpoint("mistral"), http).complete(LMRequest("m", (Message("user", parts),)))
    assert http.seen[0][2]["messages"][0]["content"] == [
        {"type": "text", "text": "Hi"},
        {"type": "input_audio", "input_audio": "AAAA"},
        {"type": "document_url", "document_url": "data:application/pdf;base64,AA", "document_name": "a.pdf"},
        {"type": "file", "file_id": "f"},
    ]


async def test_deepseek_is_sent_thoughts_with_all_turns_of_its_own_once_tools_were_called():
    http = Told()
    provider = make_lm(endpoint("deepseek"), http)
    await provider.complete(using_tools())
    turns = http.seen[0][2]["messages"]
    assert [turn.get("reasoning_content") for turn in turns] == [None, "", None, None, ""]
    await provider.complete(LMRequest("acme-1", (Message.of("user", "a"), Message.of("assistant", "b"))))
    assert not any("reasoning_content" in turn for turn in http.seen[1][2]["messages"])


async def test_openrouter_is_told_to_go_by_no_service_that_passes_over_a_schema():
    http = Told()
    provider = make_lm(endpoint("openrouter"), http)
    await provider.complete(asking())
    await provider.complete(using_tools({"type": "object", "properties": {}}))
    own = {"extra_body": {"provider": {"order": ["x"], "require_parameters": False}}}
    await provider.complete(msgspec.structs.replace(using_tools({"type": "object"}), params=own))
    given = [body.get("provider") for _, _, body in http.seen]
    assert given == [None, {"require_parameters": True}, {"order": ["x"], "require_parameters": False}]


@pytest.mark.parametrize("kind", ["chat", "responses", "text"])
async def test_an_extra_body_is_more_of_the_body_and_no_field_of_it(kind):
    http = Told({"chat": ANSWER, "responses": WHOLE, "text": TEXT}[kind])
    extra = {"chat_template_kwargs": {"enable_thinking": False}}
    await make_lm(endpoint("vllm", model_type=kind), http).complete(asking(extra_body=extra))
    body = http.seen[0][2]
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "extra_body" not in body


async def test_an_adapted_service_streams(server, lm, stream):
    server.then_events([{"choices": [{"delta": {"content": "Hi."}, "finish_reason": "stop"}]}])
    came = [delta async for delta in stream(lm("mistral/m"))]
    assert "".join(delta.text for delta in came) == "Hi."
    assert "stream_options" not in server.requests[0].json


def test_servers_of_ones_own_take_grammars():
    assert dspex.LM("vllm/m").capabilities.grammar is True
    assert dspex.LM("llama_server/m").capabilities.grammar is True
    assert dspex.LM("deepseek/deepseek-chat").capabilities.json_schema is False


async def test_a_key_comes_from_the_services_own_variable(server, monkeypatch, ask):
    monkeypatch.setenv("XAI_API_KEY", "sk-x")
    monkeypatch.setenv("XAI_API_BASE", server.url)
    server.then(200, ANSWER)
    await ask(dspex.LM("xai/grok-4", cache=False))
    assert server.requests[0].headers["authorization"] == "Bearer sk-x"


async def test_a_wrong_key_is_told_by_the_services_variable(server, monkeypatch, ask):
    monkeypatch.setenv("GROQ_API_BASE", server.url)
    server.then(401, json={"error": {"message": "no"}})
    with pytest.raises(dspex.AuthError, match="Set GROQ_API_KEY"):
        await ask(dspex.LM("groq/llama", cache=False, num_retries=0))


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.embeds])
async def test_a_service_that_embeds_is_called_at_its_address(name):
    http = Told(VECTORS)
    assert list((await make_embedder(endpoint(name), http).embed(["a"]))[0]) == [1.0, 2.0]
    assert http.seen[0][0] == f"{PRESETS[name].base_url}/embeddings"


BASE = "https://mine.openai.azure.com"
CHAT, RESPONSES, EMBED = "chat/completions", "responses", "embeddings"


@pytest.mark.parametrize(
    ("base", "version", "path", "url"),
    [
        (BASE, None, CHAT, f"{BASE}/openai/v1/chat/completions"),
        (f"{BASE}/openai/v1/", None, CHAT, f"{BASE}/openai/v1/chat/completions"),
        (BASE, "preview", RESPONSES, f"{BASE}/openai/v1/responses?api-version=preview"),
        (BASE, "2024-10-21", CHAT, f"{BASE}/openai/deployments/my%20model/chat/completions?api-version=2024-10-21"),
        (BASE, "2024-10-21", EMBED, f"{BASE}/openai/deployments/my%20model/embeddings?api-version=2024-10-21"),
        (BASE, "2025-03-01-preview", RESPONSES, f"{BASE}/openai/responses?api-version=2025-03-01-preview"),
    ],
)
async def test_azure_is_called_by_its_own_addresses_and_header(base, version, path, url):
    http = Told({CHAT: ANSWER, RESPONSES: WHOLE, EMBED: VECTORS}[path])
    options = {} if version is None else {"api_version": version}
    if path == EMBED:
        await make_azure_embedder(endpoint("azure", "my model", base, **options), http).embed(["a"])
    else:
        kind = {"model_type": "responses"} if path == RESPONSES else {}
        await make_azure_lm(endpoint("azure", "my model", base, **options, **kind), http).complete(asking())
    assert [(seen, headers) for seen, headers, _ in http.seen] == [(url, {"api-key": "sk-1"})]


async def test_azures_address_and_version_come_from_its_variables(monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", BASE)
    monkeypatch.setenv("AZURE_API_VERSION", "2024-10-21")
    http = Told()
    await make_azure_lm(endpoint("azure", "m"), http).complete(asking())
    assert http.seen[0][0] == f"{BASE}/openai/deployments/m/chat/completions?api-version=2024-10-21"


def test_azure_without_an_address_is_told():
    with pytest.raises(ConfigurationError, match="AZURE_API_BASE"):
        dspex.LM("azure/m").capabilities  # noqa: B018
    with pytest.raises(ConfigurationError, match="api_version"):
        dspex.LM("azure/m", api_base=BASE, api_version=2024).capabilities  # noqa: B018


async def test_azure_streams(server, lm, stream):
    server.then_events([{"choices": []}, {"choices": [{"delta": {"content": "Hi."}, "finish_reason": "stop"}]}])
    model = dspex.LM("azure/d", api_base=server.url, api_key="k", api_version="2024-10-21", cache=False)
    assert "".join([delta.text async for delta in stream(model)]) == "Hi."
    assert server.requests[0].path == "/openai/deployments/d/chat/completions?api-version=2024-10-21"
    assert "authorization" not in server.requests[0].headers


def test_no_variable_of_the_machine_is_left():
    assert not [name for name in os.environ if name.endswith("_API_BASE")]
