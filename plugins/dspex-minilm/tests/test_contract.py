"""The kit for embedders, and what this one does beyond it."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

import dspex
import dspex_minilm
from dspex.app.embedder import as_array
from dspex.plugin import Endpoint, PluginError, Spec
from dspex.testing import EmbeddingContract
from dspex_minilm import model
from dspex_minilm.provider import MiniLMProvider
from dspex_minilm.tokenizer import Tokenizer

NAME = "all-MiniLM-L6-v2"


class TestMiniLM(EmbeddingContract):
    model = NAME

    def spec(self) -> Spec:
        return dspex_minilm.dspex_embedders()[0]


def made(**options):
    return MiniLMProvider(Endpoint("minilm", NAME, options=options), None)


def embedded(provider, texts):
    async def life():
        try:
            return as_array(await provider.embed(texts))
        finally:
            await provider.aclose()

    return asyncio.run(life())


def test_word_pieces_are_those_of_the_original_tokenizer():
    tokenizer = Tokenizer()
    recorded = json.loads((Path(__file__).parent / "pieces.json").read_text())
    wrong = [text for text, pieces in recorded if tokenizer.encode(text, 256) != pieces]
    assert not wrong
    assert len(recorded) > 100


def test_a_long_text_is_read_to_its_limit():
    tokenizer = Tokenizer()
    pieces = tokenizer.encode("word " * 1000, 16)
    assert (len(pieces), pieces[0], pieces[-1]) == (16, tokenizer.first, tokenizer.last)
    beginning = "The river rises in the hills. " * 20
    one, other = embedded(made(max_tokens=64), [beginning, beginning + "Something else entirely."])
    assert one @ other > 0.999999


def test_vectors_have_length_one_and_a_text_has_its_own_in_any_company():
    texts = [f"{'long ' * (number % 60)}text number {number}" for number in range(150)]
    together = embedded(made(), texts)
    assert np.allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    alone = np.concatenate([embedded(made(threads=1), [text]) for text in texts[::37]])
    assert np.allclose(together[::37], alone, atol=1e-4)


def test_runs_hold_texts_of_like_length_within_their_bounds():
    lengths = [3, 256, 5, 100, 256, 4, 99, *[8] * 100]
    found = model.runs(lengths)
    assert sorted(place for run in found for place in run) == list(range(len(lengths)))
    for run in found:
        assert len(run) <= model.MOST_ROWS
        assert len(run) == 1 or len(run) * max(lengths[place] for place in run) <= model.MOST_TOKENS
    assert found[0] == [1, 4, 3, 6]


def test_no_texts_are_no_work():
    assert len(embedded(made(), [])) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "all-mpnet"}, "has one model: .* not 'all-mpnet'"),
        ({"base_url": "http://localhost"}, "no use for api_base"),
        ({"options": {"max_tokens": 4}}, r"max_tokens"),
        ({"options": {"threads": "two"}}, r"threads"),
        ({"options": {"dim": 3}}, r"dim"),
    ],
    ids=repr,
)
def test_what_cannot_be_meant_is_told(arguments, message):
    given = {"provider": "minilm", "model": NAME, **arguments}
    with pytest.raises(dspex.ConfigurationError, match=message):
        MiniLMProvider(Endpoint(**given), None)


def test_a_damaged_file_is_not_used(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"half a model")
    for path in (tmp_path / "model.onnx", tmp_path / "absent.onnx"):
        with pytest.raises(PluginError, match=r"is damaged.*Install it again"):
            model.open_session(path, model.SHA256)


def test_after_its_end_it_refuses_what_waits():
    engine = model.Model(256, 1)
    engine.close()
    with pytest.raises(dspex.Unavailable, match="closed with its App"):
        engine.encode(["text"])


def test_a_provider_that_was_closed_loads_again():
    provider = made()
    first = embedded(provider, ["Rome"])
    assert np.array_equal(first, embedded(provider, ["Rome"]))


def test_knn_and_budgets_know_it():
    trainset = [
        dspex.Example(question=question, kind=kind).with_inputs("question")
        for question, kind in [("How do I bake bread?", "cooking"), ("Which planet is largest?", "astronomy")]
    ]
    for vectorizer in (dspex.Embedder(f"minilm/{NAME}"), f"minilm/{NAME}"):
        nearest = dspex.KNN(1, trainset, vectorizer)
        assert nearest(question="What is the oven's temperature for a cake?")[0].kind == "cooking"
    with dspex.track_usage() as usage:
        dspex.Embedder(f"minilm/{NAME}", caching=False)("Rome is a city.")
    assert (usage.total.input_tokens, usage.total.estimated) == (7, False)
