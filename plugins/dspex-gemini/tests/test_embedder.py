"""Embeddings: batches, options, and what goes wrong."""

import pytest

import dspex
from dspex.plugin import AuthError, BadRequest, ConfigurationError, ProtocolError


@pytest.fixture
def embedder(server):
    def embedder(**more):
        return dspex.Embedder("gemini/e-1", **{"api_base": server.url, "num_retries": 0, "caching": False, **more})

    return embedder


def vectors(*rows, **more):
    return {"embeddings": [{"values": list(row)} for row in rows], **more}


async def test_texts_become_rows_in_order(server, embedder):
    server.then(200, json=vectors((1, 2), (3, 4), usageMetadata={"promptTokenCount": 5}))
    got = await embedder(dimensions=2, task_type="RETRIEVAL_QUERY", api_key="k").embed(["a", "b"])
    assert [list(row) for row in got] == [[1, 2], [3, 4]]
    [request] = server.requests
    common = {"model": "models/e-1", "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 2}
    assert request.path == "/models/e-1:batchEmbedContents"
    assert request.json["requests"] == [{**common, "content": {"parts": [{"text": text}]}} for text in "ab"]
    assert request.headers["x-goog-api-key"] == "k"


async def test_more_texts_than_google_takes_are_several_requests(server, embedder):
    server.then(200, json=vectors(*[(1, 0)] * 100)).then(200, json=vectors((0, 1)))
    got = await embedder().embed([f"text {number}" for number in range(101)])
    assert (len(got), list(got[100])) == (101, [0, 1])
    assert [len(request.json["requests"]) for request in server.requests] == [100, 1]


async def test_usage_is_counted(server, embedder):
    server.then(200, json=vectors((1, 2), usageMetadata={"promptTokenCount": 5}))
    with dspex.track_usage() as tracker:
        await embedder().embed(["a"])
    assert tracker.get_total_tokens()["gemini/e-1"]["prompt_tokens"] == 5


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (vectors((1, 2)), "2 texts got 1 vectors"),
        (vectors((1, 2), (3,)), "different lengths: 1, 2"),
        (vectors((1, 2, 3), (4,)), "different lengths: 1, 3"),
        ({"embeddings": [{"values": "x"}]}, "array"),
        (b"{", "JSON"),
        ({}, "got 0"),
    ],
)
async def test_vectors_that_do_not_fit_are_a_protocol_error(server, embedder, body, words):
    server.then(200, body) if isinstance(body, bytes) else server.then(200, json=body)
    with pytest.raises(ProtocolError, match=words):
        await embedder().embed(["a", "b"])


async def test_refusals_are_told_by_their_classes(server, embedder):
    wrong_key = {"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}
    server.then(400, json=wrong_key).then(200, json={"error": {"code": 400, "message": "no"}})
    with pytest.raises(AuthError):
        await embedder(api_key="k").embed(["a"])
    with pytest.raises(BadRequest, match="no"):
        await embedder(api_key="k").embed(["a"])


def test_an_unknown_option_is_named(embedder):
    with pytest.raises(ConfigurationError, match="dimension"):
        embedder(dimension=2)(["a"])
    with pytest.raises(ConfigurationError, match="task_type"):
        embedder(task_type="POETRY")(["a"])
