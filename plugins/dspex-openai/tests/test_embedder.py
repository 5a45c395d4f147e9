"""Embeddings: how they travel, options, and what goes wrong."""

from contextlib import contextmanager

import pytest

import dspex
import dspex_openai
from dspex.plugin import (
    AuthError,
    BadRequest,
    ConfigurationError,
    ContextWindowExceeded,
    ProtocolError,
    RateLimited,
    Spec,
    Usage,
)
from dspex.testing import EmbeddingContract


@pytest.fixture
def embedder(server):
    def embedder(**more):
        fixed = {"api_base": f"{server.url}/v1", "num_retries": 0, "caching": False}
        return dspex.Embedder("openai/e-1", **{**fixed, **more})

    return embedder


def vectors(*rows, **more):
    return {"data": [{"embedding": row, "index": place} for place, row in enumerate(rows)], **more}


async def test_texts_become_rows_in_their_order(server, embedder):
    body = vectors([1, 2], [3, 4], usage={"prompt_tokens": 5})
    body["data"].reverse()
    server.then(200, json=body)
    got = await embedder(dimensions=2, api_key="k").service.provider.embed(["a", "b"])
    assert [list(row) for row in got] == [[1, 2], [3, 4]]
    assert got.usage == Usage(5)
    [request] = server.requests
    assert (request.path, request.headers["authorization"]) == ("/v1/embeddings", "Bearer k")
    assert request.json == {"model": "e-1", "input": ["a", "b"], "dimensions": 2}


async def test_base64_is_asked_for_and_read_where_the_user_says_so(server, embedder):
    server.then(200, json=vectors("AACAPwAAAEA=", [3.0, 4.0]))
    got = await embedder(encoding="base64").embed(["a", "b"])
    assert [list(row) for row in got] == [[1, 2], [3, 4]]
    assert server.requests[0].json["encoding_format"] == "base64"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (vectors([1, 2]), "2 texts got 1 vectors"),
        (vectors([1, 2], [3]), "different lengths: 1, 2"),
        (vectors([1, 2, 3], [4]), "different lengths: 1, 3"),
        ({"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [2]}]}, "not those of 2 texts"),
        (vectors("AACA", "AACAPw=="), "no base64 of float32"),
        (vectors("?", "?"), "no base64"),
        ({"data": [{"index": 0}, {"index": 1}]}, "embedding"),
        (b"{", "JSON"),
        ({}, "got 0"),
    ],
)
async def test_vectors_that_do_not_fit_are_a_protocol_error(server, embedder, body, words):
    server.then(200, body) if isinstance(body, bytes) else server.then(200, json=body)
    with pytest.raises(ProtocolError, match=words):
        await embedder().embed(["a", "b"])


async def test_a_request_holds_no_more_than_openai_takes(server, embedder):
    server.then_made(lambda asked: vectors(*([1.0] for _ in asked["input"])), times=None)
    texts = [f"{number} {'é' * 60_000}" for number in range(5)]
    assert len(await embedder().embed(texts)) == 5
    assert sorted(len(request.json["input"]) for request in server.requests) == [1, 2, 2]


async def test_refusals_are_told_by_their_classes(server, embedder):
    server.then(429).then(400, json={"error": {"message": "no such model"}})
    server.then(200, json={"error": {"code": "rate_limit_exceeded", "message": "Slow."}})
    for kind in (RateLimited, BadRequest, RateLimited):
        with pytest.raises(kind):
            await embedder(headers={"x-test": kind.__name__ + str(len(server.requests))}).embed(["a"])


async def test_a_text_that_llamas_server_finds_too_long_is_not_sent_again(server, embedder):
    said = "input (20002 tokens) is too large to process. increase the physical batch size (current batch size: 512)"
    server.then(500, json={"error": {"code": 500, "message": said, "type": "server_error"}}, times=None)
    with pytest.raises(ContextWindowExceeded, match="too large to process"):
        await embedder(num_retries=3).embed(["long"])
    assert len(server.requests) == 1


async def test_openai_is_not_called_without_a_key():
    with pytest.raises(AuthError, match="OPENAI_API_KEY"):
        await dspex.Embedder("openai/text-embedding-3-small", caching=False).embed(["a"])


def test_a_wrong_option_is_named(embedder):
    with pytest.raises(ConfigurationError, match="encoding"):
        embedder(encoding="utf-8")(["a"])


async def test_llamas_vectors_are_the_same_in_either_encoding(llama):
    def embedder(**more):
        return dspex.Embedder(
            "openai/gemma-3-270m", api_base=f"{llama.url}/v1", api_key=llama.key, caching=False, **more
        )

    numbers = await embedder().embed(["A cat sleeps.", "Rome"])
    packed = await embedder(encoding="base64").embed(["A cat sleeps.", "Rome"])
    assert numbers.dim == packed.dim == 640
    for one, other in zip(numbers, packed, strict=True):
        assert list(one) == pytest.approx(list(other), abs=1e-3)


@pytest.fixture(scope="class")
def llama_of_the_class(request, llama):
    request.cls.llama = llama


@pytest.mark.usefixtures("llama_of_the_class")
class TestLlamaServer(EmbeddingContract):
    """The embedder with a real model behind a real server that others wrote."""

    model = "gemma-3-270m"
    same_meaning = ()  # a model that writes: its vectors are all alike
    nearness = 0.99
    many = 3
    batch = 4
    limit_s = 55.0

    def spec(self) -> Spec:
        return dspex_openai.dspex_embedders()[0]

    @contextmanager
    def served(self):
        yield {"api_base": f"{self.llama.url}/v1", "api_key": self.llama.key}
