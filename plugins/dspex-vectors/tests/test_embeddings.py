"""dspex.Embeddings, which this plugin is the index of."""

import json
import threading

import numpy as np
import pytest

import dspex

TEXTS = [f"{'a' * (number % 7)}{'e' * (number % 5)}{'o' * (number % 3)}" for number in range(60)]


def vowels(texts):
    return np.array([[text.count(vowel) + 0.1 for vowel in "aeo"] for text in texts])


@pytest.mark.parametrize("threshold", [20_000, 10], ids=["exact", "graph"])
def test_it_finds_by_cosine_and_gives_places(threshold):
    search = dspex.EmbeddingsWithScores(TEXTS, vowels, k=3, brute_force_threshold=threshold)
    found = search("aaaee")
    rows = vowels(TEXTS) / np.linalg.norm(vowels(TEXTS), axis=1, keepdims=True)
    query = vowels(["aaaee"])[0] / np.linalg.norm(vowels(["aaaee"])[0])
    assert found.scores == pytest.approx(sorted(rows @ query, reverse=True)[:3], abs=1e-5)
    assert found.passages == [TEXTS[place] for place in found.indices]


def test_it_is_saved_and_opened(tmp_path):
    search = dspex.Embeddings(TEXTS, vowels, k=4)
    search.save(tmp_path / "index")
    opened = dspex.Embeddings.from_saved(tmp_path / "index", vowels)
    assert opened("aaoo").toDict() == search("aaoo").toDict()
    assert opened.corpus == TEXTS


def test_a_folder_of_dspy_opens(tmp_path):
    config = {"k": 2, "normalize": True, "corpus": TEXTS, "has_faiss_index": False}
    (tmp_path / "config.json").write_text(json.dumps(config))
    rows = vowels(TEXTS)
    np.save(tmp_path / "corpus_embeddings.npy", rows / np.linalg.norm(rows, axis=1, keepdims=True))
    opened = dspex.Embeddings.from_saved(tmp_path, vowels)
    assert opened("aaoo").toDict() == dspex.Embeddings(TEXTS, vowels, k=2)("aaoo").toDict()
    assert opened.corpus == TEXTS


def test_threads_share_it():
    search, found = dspex.Embeddings(TEXTS, vowels, k=1), []

    def ask(number):
        found.append((search(TEXTS[number]).passages[0], TEXTS[number]))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 19
    same = [np.allclose(*(row / np.linalg.norm(row) for row in vowels(pair)), atol=1e-3) for pair in found]
    assert all(same)
