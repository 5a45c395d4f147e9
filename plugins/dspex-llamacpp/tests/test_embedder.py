"""Vectors in the process: the kit for embedders, and what this one does beyond it."""

import asyncio
from types import MappingProxyType

import pytest

import dspex
import dspex_llamacpp
from dspex.plugin import Endpoint, ProtocolError, Spec
from dspex.testing import EmbeddingContract
from dspex_llamacpp.embedder import LlamaCppEmbedder, read_reply
from dspex_llamacpp.weights import has_pooling

GEMMA = "gemma-3-270m"


@pytest.mark.usefixtures("is_kept")
class TestLlamaCppEmbedder(EmbeddingContract):
    model = GEMMA
    options = MappingProxyType({"context": 256})
    same_meaning = ()  # a model that writes: its vectors are all alike
    many = 3
    batch = 4
    limit_s = 55.0
    offered = dspex_llamacpp.dspex_embedders()[0]

    def spec(self) -> Spec:
        return self.offered


@pytest.fixture
def made(kept):
    """Makes an embedder, or gives the one that was made with these options before."""
    make = kept(dspex_llamacpp.dspex_embedders()[0]).load()
    return lambda **options: make(Endpoint("llamacpp", GEMMA, options=options), None)


def embedded(provider, texts):
    return asyncio.run(provider.embed(texts))


def test_rows_have_length_one_and_tokens_are_counted(made):
    vectors = embedded(made(context=256), ["Rome is a city.", "No."])
    assert (len(vectors), vectors.dim) == (2, 640)
    assert [sum(value * value for value in row) for row in vectors] == pytest.approx([1.0, 1.0], abs=1e-4)
    assert 5 < vectors.usage.input_tokens < 15


def test_the_way_of_pooling_may_be_chosen(made):
    mean, last, unsaid = (
        list(embedded(made(context=256, **how), ["Rome is a city."])[0])
        for how in ({"pooling": "mean"}, {"pooling": "last"}, {})
    )
    assert mean == pytest.approx(unsaid, abs=1e-3)
    assert mean != pytest.approx(last, abs=1e-2)


def test_a_file_that_says_how_to_pool_is_believed(tmp_path):
    for content, says in ((b"GGUF" + b"bert.pooling_type\0", True), (b"GGUF" + b"general.name", False)):
        (tmp_path / "model.gguf").write_bytes(content)
        assert has_pooling(tmp_path / "model.gguf") is says


def test_a_text_that_is_too_long_says_what_to_do(made):
    with pytest.raises(dspex.ContextWindowExceeded, match=r"context="):
        embedded(made(context=256), ["word " * 1000])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "unknown"}, "knows no model 'unknown'"),
        ({"base_url": "http://localhost"}, "no use for api_base"),
        ({"options": {"context": 1}}, "context"),
        ({"options": {"pooling": "max"}}, "pooling"),
        ({"options": {"slots": 2}}, "slots"),
    ],
    ids=repr,
)
def test_what_cannot_be_meant_is_told(arguments, message):
    with pytest.raises(dspex.ConfigurationError, match=message):
        LlamaCppEmbedder(Endpoint(**{"provider": "llamacpp", "model": GEMMA, **arguments}), None)


@pytest.mark.parametrize("reply", [{}, {"data": []}, {"data": [{"embedding": [1.0]}]}, {"data": 3}], ids=repr)
def test_a_reply_without_a_vector_is_told(reply):
    with pytest.raises(ProtocolError, match="no vector"):
        read_reply(reply)


async def test_it_is_found_by_name_beside_the_model_that_writes():
    async with dspex.App():
        row = await dspex.Embedder(f"llamacpp/{GEMMA}", context=256, caching=False).acall("Rome")
        assert len(row) == 640
