"""Azure by tokens that run out: of Microsoft Entra's, over the loopback, and of a function of the user's own."""

import sys
from types import ModuleType
from urllib.parse import parse_qs

import pytest

import dspex
from dspex.plugin import AuthError, BatchSpec, ConfigurationError, LMRequest, Message

ANSWER = '{"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}], "usage": {}}'
SECRET = "client-secret-0123456789"


@pytest.fixture
def entra(server, monkeypatch):
    for name, value in {
        "AZURE_TENANT_ID": "t-1", "AZURE_CLIENT_ID": "c-1", "AZURE_CLIENT_SECRET": SECRET, "AZURE_AUTHORITY_HOST": f"{server.url}/",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AZURE_FEDERATED_TOKEN_FILE", raising=False)


@pytest.fixture
def azure(server):
    def azure(**more):
        fixed = {"api_base": server.url, "token": "entra", "cache": False, "num_retries": 0}
        return dspex.LM("azure/gpt-4o", **{**fixed, **more})

    return azure


def given(server, token="token-1", **more):
    return server.then(200, json={"access_token": token, "expires_in": 3600, "token_type": "Bearer", **more})


async def test_a_token_is_asked_for_once_and_shown_in_place_of_a_key(server, entra, azure, ask, stream):
    given(server).then(200, ANSWER).then(200, ANSWER)
    server.then_events([{"choices": [{"delta": {"content": "Hi."}, "finish_reason": "stop"}]}])
    lm = azure()
    for _ in range(2):
        assert (await ask(lm)).text == "Hi."
    assert "".join([delta.text async for delta in stream(lm)]) == "Hi."
    asked, *called = server.requests
    assert asked.path == "/t-1/oauth2/v2.0/token"
    assert {name: values[0] for name, values in parse_qs(asked.body.decode()).items()} == {
        "grant_type": "client_credentials",
        "client_id": "c-1",
        "client_secret": SECRET,
        "scope": "https://cognitiveservices.azure.com/.default",
    }
    assert [request.headers["authorization"] for request in called] == ["Bearer token-1"] * 3
    assert not any("api-key" in request.headers for request in server.requests)


async def test_one_that_has_run_out_is_asked_for_again(server, entra, azure, ask):
    given(server, expires_in=0).then(200, ANSWER)
    given(server, "token-2").then(200, ANSWER)
    lm = azure()
    await ask(lm)
    await ask(lm)
    assert server.requests[-1].headers["authorization"] == "Bearer token-2"


async def test_a_platforms_own_token_is_read_from_its_file_each_time(server, entra, azure, ask, monkeypatch, tmp_path):
    file = tmp_path / "token"
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
    lm = azure()
    with pytest.raises(ConfigurationError, match="AZURE_FEDERATED_TOKEN_FILE, cannot be read"):
        await ask(lm)
    file.write_text("jwt-1\n")
    given(server).then(200, ANSWER)
    await ask(lm)
    assert parse_qs(server.requests[0].body.decode())["client_assertion"] == ["jwt-1"]


async def test_a_refused_application_is_told_without_its_secret(server, entra, azure, ask):
    said = f"AADSTS7000215: Invalid client secret provided: {SECRET}"
    server.then(401, json={"error": "invalid_client", "error_description": said})
    with pytest.raises(AuthError, match="Microsoft Entra gives the application c-1 no token") as refused:
        await ask(azure())
    assert SECRET not in f"{refused.value} {refused.value!r} {refused.value.__cause__!r} {refused.value.__context__!r}"


async def test_what_the_environment_lacks_is_named(entra, azure, monkeypatch):
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    with pytest.raises(ConfigurationError, match="AZURE_FEDERATED_TOKEN_FILE or AZURE_CLIENT_SECRET"):
        azure().capabilities  # noqa: B018
    monkeypatch.delenv("AZURE_TENANT_ID")
    with pytest.raises(ConfigurationError, match="AZURE_TENANT_ID"):
        azure().capabilities  # noqa: B018


async def test_embeddings_and_batches_show_it_too(server, entra, azure):
    given(server).then(200, json={"data": [{"embedding": [1.0], "index": 0}]})
    embedder = dspex.Embedder(
        "azure/e", api_base=server.url, token="entra", encoding="float", caching=False, num_retries=0
    )
    await embedder.embed(["a"])
    assert server.requests[-1].headers["authorization"] == "Bearer token-1"
    given(server).then(200, json={"data": []}).then(200, json={"id": "f"}).then(200, json={"id": "b"})
    provider = azure().service.provider
    assert await provider.batch_start(BatchSpec({"a": LMRequest("m", (Message.of("user", "?"),))}, "k")) == "b"
    assert [request.headers["authorization"] for request in server.requests[-3:]] == ["Bearer token-1"] * 3


async def test_a_function_of_the_users_own_gives_the_token(server, azure, ask, monkeypatch):
    module = ModuleType("own_login")
    module.token = lambda: ("token-of-mine", 9e9)
    monkeypatch.setitem(sys.modules, "own_login", module)
    server.then(200, ANSWER)
    await ask(azure(token="own_login:token"))
    assert server.requests[0].headers["authorization"] == "Bearer token-of-mine"
    with pytest.raises(ConfigurationError, match=r"package\.module:function"):
        azure(token="own_login:nothing").capabilities  # noqa: B018
