"""Embeddings of Titan and Cohere: what is sent, who asks, and what goes wrong."""

import asyncio

import pytest

import dspex
from dspex.plugin import BadRequest, ConfigurationError, ProtocolError, RateLimited, Unavailable, Usage

TITAN, COHERE = "amazon.titan-embed-text-v2:0", "us.cohere.embed-v4:0"


@pytest.fixture
def embedder(server):
    def embedder(model=TITAN, **more):
        fixed = {"api_base": server.url, "api_key": "k", "num_retries": 0, "caching": False}
        return dspex.Embedder(f"bedrock/{model}", **{**fixed, **more})

    return embedder


async def test_titan_is_asked_text_by_text_and_several_at_once(server, embedder):
    values = {"a": [1.0, 2.0], "b": [3.0, 4.0], "c": [5.0, 6.0]}
    server.then_made(
        lambda asked: {"embedding": values[asked["inputText"]], "inputTextTokenCount": 2}, times=3, gather=3
    )
    got = await asyncio.wait_for(embedder(dimensions=256).embed(["a", "b", "c"]), 5)
    assert [list(row) for row in got] == [[1, 2], [3, 4], [5, 6]]
    assert {request.path for request in server.requests} == {"/model/amazon.titan-embed-text-v2:0/invoke"}
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer k"}
    sent = sorted((request.json for request in server.requests), key=lambda body: body["inputText"])
    assert sent[0] == {"inputText": "a", "dimensions": 256, "normalize": True}


async def test_a_text_that_failed_is_sent_again_alone(server, embedder):
    server.then(200, json={"embedding": [1.0], "inputTextTokenCount": 2}).then(429)
    server.then_made(lambda asked: {"embedding": [1.0], "inputTextTokenCount": 2}, times=None)
    with dspex.track_usage() as tracker, dspex.budget(calls=4) as budget:
        assert len(await embedder(num_retries=1).embed(["a", "b", "c"])) == 3
    assert (len(server.requests), budget.spent.calls) == (4, 4)
    assert tracker.get_total_tokens()[f"bedrock/{TITAN}"]["prompt_tokens"] == 6


async def test_a_failure_ends_the_other_requests_of_its_call(server, embedder):
    server.then(429).then_raw(end="hang", times=None)
    with pytest.raises(RateLimited):
        await embedder().embed(["a", "b", "c"])
    assert await asyncio.to_thread(server.wait, lambda made: made.closed >= made.connections - 1)


async def test_cohere_takes_many_texts_and_is_told_what_they_are_for(server, embedder):
    reply = {"embeddings": {"float": [[1, 2], [3, 4]]}, "id": "x", "response_type": "embeddings_by_type"}
    server.then(200, json=reply, headers={"x-amzn-bedrock-input-token-count": "7"})
    asking = embedder(COHERE, input_type="search_query", dimensions=256, truncate="RIGHT")
    got = await asking.service.provider.embed(["a", "b"])
    assert [list(row) for row in got] == [[1, 2], [3, 4]]
    assert got.usage == Usage(7)
    assert server.requests[0].json == {
        "texts": ["a", "b"], "input_type": "search_query", "embedding_types": ["float"], "truncate": "RIGHT",
        "output_dimension": 256,
    }  # fmt: skip


async def test_more_texts_than_cohere_takes_are_several_requests(server, embedder):
    server.then_made(lambda asked: {"embeddings": [[float(text)] for text in asked["texts"]]}, times=None)
    got = await embedder(COHERE, batch_size=200).embed([str(number) for number in range(100)])
    assert [row[0] for row in got] == list(range(100))
    assert sorted(len(request.json["texts"]) for request in server.requests) == [4, 96]


async def test_it_is_signed_where_there_is_no_key_of_bedrocks(server, embedder, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    server.then(200, json={"embedding": [1.0]})
    await embedder(api_key=None, region="eu-west-3").embed(["a"])
    assert "AKID/" in server.requests[0].headers["authorization"]


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        (TITAN, {}, "1 texts got 0"),
        (TITAN, {"embedding": "x"}, "array"),
        (COHERE, {"embeddings": {"int8": [[1]]}}, "1 texts got 0"),
        (COHERE, {"embeddings": [[1], [2]]}, "1 texts got 2"),
    ],
)
async def test_vectors_that_do_not_fit_are_a_protocol_error(server, embedder, model, body, words):
    server.then(200, json=body)
    with pytest.raises(ProtocolError, match=words):
        await embedder(model).embed(["a"])


async def test_refusals_are_told_by_their_classes(server, embedder):
    server.then(400, json={"message": "Too many input tokens."}).then(424).then(200, json={"error": {"message": "no"}})
    for kind in (BadRequest, Unavailable, ProtocolError):
        with pytest.raises(kind):
            await embedder(headers={"x-test": f"{len(server.requests)}"}).embed(["a"])


def test_a_model_of_another_family_is_told_and_so_is_a_wrong_option(embedder):
    with pytest.raises(ConfigurationError, match="Titan's"):
        embedder("acme.embed-1")(["a"])
    with pytest.raises(ConfigurationError, match="input_type"):
        embedder(COHERE, input_type="poetry")(["a"])
