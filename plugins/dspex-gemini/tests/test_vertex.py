"""Vertex AI: its addresses, and who asks there, by keys and by tokens that run out."""

import base64
import json
import sys
from types import ModuleType
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import dspex
from dspex.plugin import AuthError, ConfigurationError, Endpoint, Secret
from dspex_gemini.vertex import make_embedder, make_lm

MODEL = "gemini-2.5-flash"
GOOGLE = ("GOOGLE_CLOUD_PROJECT", "VERTEXAI_PROJECT", "GOOGLE_CLOUD_LOCATION", "VERTEXAI_LOCATION", "VERTEX_AI_API_KEY")
ANSWER = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi."}]}, "finishReason": "STOP"}]}


@pytest.fixture(autouse=True)
def nothing_of_the_machines(monkeypatch, tmp_path):
    for name in GOOGLE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))


@pytest.fixture
def own_token(monkeypatch):
    """A function of the user's own, that counts how often it is asked."""
    module = ModuleType("own_login")
    module.asked = 0

    async def token():
        module.asked += 1
        return f"token-{module.asked}", 9e9

    module.token = token
    monkeypatch.setitem(sys.modules, "own_login", module)
    return module


@pytest.fixture
def vertex(server):
    def vertex(**more):
        fixed = {"api_base": f"{server.url}/v1", "token": "own_login:token", "project": "p-1", "cache": False}
        return dspex.LM(f"vertex_ai/{MODEL}", **{**fixed, "num_retries": 0, **more})

    return vertex


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({"project": "p 1"}, "https://aiplatform.googleapis.com/v1/projects/p%201/locations/global/publishers/google"),
        (
            {"project": "p", "location": "europe-west4"},
            "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4/publishers/google",
        ),
    ],
)
def test_a_model_is_in_a_project_and_a_location(own_token, options, url):
    endpoint = Endpoint("vertex_ai", MODEL, options={"token": "own_login:token", **options})
    assert make_lm(endpoint, None).base_url == make_embedder(endpoint, None).base_url == url


def test_a_key_knows_its_project():
    found = make_lm(Endpoint("vertex_ai", MODEL, api_key=Secret("k-0123456789")), None)
    assert found.base_url == "https://aiplatform.googleapis.com/v1/publishers/google"


async def test_a_token_is_shown_whole_and_streamed(server, own_token, vertex, ask, stream):
    server.then(200, json=ANSWER).then_events([ANSWER], done=False)
    lm = vertex()
    assert (await ask(lm)).text == "".join([delta.text async for delta in stream(lm)]) == "Hi."
    path = f"/v1/projects/p-1/locations/global/publishers/google/models/{MODEL}"
    assert [request.path for request in server.requests] == [
        f"{path}:generateContent",
        f"{path}:streamGenerateContent?alt=sse",
    ]
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer token-1"}
    assert own_token.asked == 1


async def test_project_and_location_come_from_the_environment(server, own_token, vertex, ask, monkeypatch):
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p-env")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "us-east5")
    server.then(200, json=ANSWER)
    await ask(vertex(project=None))
    assert "/projects/p-env/locations/us-east5/" in server.requests[0].path


def test_a_project_that_is_nowhere_named_is_told(own_token, vertex):
    with pytest.raises(ConfigurationError, match="GOOGLE_CLOUD_PROJECT"):
        vertex(project=None).capabilities  # noqa: B018


async def test_aimocks_vertex_answers(mock, own_token, vertex, ask, stream):
    lm = vertex(api_base=f"{mock.url}/v1")
    got = await ask(lm, "plain")
    assert (
        got.text
        == "".join([delta.text async for delta in stream(lm, "plain")])
        == "Write the word café and a smile 😀."
    )


@pytest.fixture
def account(server, monkeypatch, tmp_path):
    """A service account of Google Cloud, whose tokens come from the server on the loopback."""
    key = rsa.generate_private_key(65537, 2048)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    file = tmp_path / "account.json"
    account = {
        "type": "service_account",
        "project_id": "p-account",
        "private_key_id": "1",
        "private_key": text,
        "client_email": "me@p-account.iam.gserviceaccount.com",
        "token_uri": f"{server.url}/token",
    }
    file.write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))


async def test_googles_own_search_finds_a_service_account(server, account, vertex, ask):
    server.then(200, json={"access_token": "token-google", "expires_in": 3600, "token_type": "Bearer"})
    server.then(200, json=ANSWER).then(200, json=ANSWER)
    lm = vertex(token=None)
    for _ in range(2):
        assert (await ask(lm)).text == "Hi."
    asked, *called = server.requests
    claims = parse_qs(asked.body.decode())["assertion"][0].split(".")[1]
    assert "cloud-platform" in base64.urlsafe_b64decode(claims + "==").decode()
    assert [request.headers["authorization"] for request in called] == ["Bearer token-google"] * 2


async def test_credentials_that_are_refused_or_missing_are_told(server, account, vertex, ask, monkeypatch):
    server.then(400, json={"error": "invalid_grant", "error_description": "Invalid JWT"})
    with pytest.raises(AuthError, match="Google gives no token"):
        await ask(vertex(token=None))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    with pytest.raises(AuthError, match="cannot be found"):
        await ask(vertex(token=None, headers={"x-other": "1"}))


async def test_an_embedder_says_what_texts_are_for_and_takes_one_text_where_the_model_does(server, own_token):
    row = {"embeddings": {"values": [1.0, 2.0], "statistics": {"token_count": 3}}}
    server.then_made(lambda asked: {"predictions": [row] * len(asked["instances"])}, times=None)
    fixed = {"api_base": f"{server.url}/v1", "token": "own_login:token", "project": "p-1", "caching": False}
    more = {"task_type": "RETRIEVAL_QUERY", "dimensions": 2}
    assert len(await dspex.Embedder("vertex_ai/text-embedding-005", **fixed, **more).embed(["a", "b"])) == 2
    [request] = server.requests
    assert request.json == {
        "instances": [{"content": text, "task_type": "RETRIEVAL_QUERY"} for text in "ab"],
        "parameters": {"outputDimensionality": 2},
    }
    await dspex.Embedder("vertex_ai/gemini-embedding-001", **fixed).embed(["a", "b"])
    assert [len(request.json["instances"]) for request in server.requests] == [2, 1, 1]
