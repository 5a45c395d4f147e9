"""Embeddings: options, and what goes wrong."""

import pytest

import dspex
from dspex.plugin import BadRequest, ConfigurationError, ContextWindowExceeded, ProtocolError, Unavailable, Usage


@pytest.fixture
def embedder(server):
    def embedder(**more):
        return dspex.Embedder("ollama/e-1", **{"api_base": server.url, "num_retries": 0, "caching": False, **more})

    return embedder


async def test_texts_become_rows_in_order(server, embedder):
    server.then(200, json={"embeddings": [[1, 2], [3, 4]], "prompt_eval_count": 5})
    got = await embedder(dimensions=2, truncate=False, num_ctx=512, keep_alive="5m").embed(["a", "b"])
    assert [list(row) for row in got] == [[1, 2], [3, 4]]
    more = {"dimensions": 2, "truncate": False, "keep_alive": "5m", "options": {"num_ctx": 512}}
    assert server.requests[0].json == {"model": "e-1", "input": ["a", "b"], **more}


async def test_the_provider_counts_tokens(server, embedder):
    server.then(200, json={"embeddings": [[1, 2]], "prompt_eval_count": 5})
    assert (await embedder().service.provider.embed(["a"])).usage == Usage(5)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"embeddings": [[1, 2]]}, "2 texts got 1 vectors"),
        ({"embeddings": [[1, 2], [3]]}, "different lengths: 1, 2"),
        ({"embeddings": [[1, 2, 3], [4]]}, "different lengths: 1, 3"),
        ({"embeddings": "x"}, "array"),
        ({}, "got 0"),
        (b"{", "JSON"),
    ],
)
async def test_vectors_that_do_not_fit_are_a_protocol_error(server, embedder, body, words):
    server.then(200, body) if isinstance(body, bytes) else server.then(200, json=body)
    with pytest.raises(ProtocolError, match=words):
        await embedder().embed(["a", "b"])


async def test_refusals_are_told_by_their_classes(server, embedder):
    server.then(404, json={"error": 'model "e-1" not found, try pulling it first'}).then(200, json={"models": []})
    with pytest.raises(BadRequest, match="ollama pull e-1"):
        await embedder().embed(["a"])
    server.then(400, json={"error": "the input length exceeds the context length"})
    with pytest.raises(ContextWindowExceeded):
        await embedder().embed(["a"])
    server.then(200, json={"error": "runner stopped"})
    with pytest.raises(Unavailable):
        await embedder().embed(["a"])


def test_an_unknown_option_is_named(embedder):
    with pytest.raises(ConfigurationError, match="dimension"):
        embedder(dimension=2)(["a"])
