"""Embeddings: texts by their vectors, over whichever retriever the plugin `vectors` gives."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

import dspex
from dspex.plugin import Passage
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source
from dspex.testing import VirtualClock, simulate

TEXTS = ["aaa", "eee", "ooo"]


def vowels(texts):
    return [[float(text.count(vowel)) for vowel in "aeo"] for text in texts]


class Options(msgspec.Struct):
    normalize: bool = True
    approximate_from: int = 0
    path: str | None = None


class Vectors:
    """What the plugin makes, as small as can be."""

    def __init__(self, options, http, embedder):
        self.options, self.embedder, self.kept, self.adds = options, embedder, [], 0
        if options["path"]:
            self.kept = [
                (Passage(text, id=str(place)), row)
                for place, (text, row) in enumerate(json.loads(Path(options["path"], "rows.json").read_text()))
            ]

    async def add(self, passages):
        self.adds += 1
        rows = await self.embedder.embed([passage.text for passage in passages])
        self.kept += [(passage, list(row)) for passage, row in zip(passages, rows, strict=True)]

    async def retrieve(self, query, k):
        [row] = await self.embedder.embed([query])
        found = [
            msgspec.structs.replace(passage, score=sum(map(float.__mul__, row, own))) for passage, own in self.kept
        ]
        return sorted(found, key=lambda passage: -passage.score)[:k]

    async def search(self, queries, k, where):
        return [await self.retrieve(query, k) for query in queries]

    async def save(self, path):
        await asyncio.to_thread(self.write, Path(path))

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rows.json").write_text(json.dumps([[passage.text, row] for passage, row in self.kept]))


def run(main, made=None, **settings):
    """Run in virtual time, in an App with that plugin; what it makes goes into `made`."""

    def factory(*arguments):
        provider = Vectors(*arguments)
        if made is not None:
            made.append(provider)
        return provider

    spec = dspex.Spec("vectors", factory, options=Options)
    plugin = type("Plugin", (), {"dspex_retrievers": staticmethod(dspex.hookimpl(lambda: [spec]))})
    plugins = PluginManager(lambda: [Source("vectors", plugin)], environ={})

    async def inside():
        async with dspex.App(clock=VirtualClock(), plugins=plugins, seed=1, **settings):
            return await main()

    return simulate(inside)[0]


def test_it_gives_the_best_texts_and_where_they_stand():
    async def main():
        search = dspex.Embeddings(TEXTS, vowels, k=2)
        return await search.acall("eea"), await search.acall("oo", k=1)

    two, one = run(main)
    assert (two.passages, two.indices) == (["eee", "aaa"], [1, 0])
    assert (one.passages, one.indices) == (["ooo"], [2])


def test_scores_come_where_they_are_asked_for():
    async def main():
        return await dspex.EmbeddingsWithScores(TEXTS, vowels, k=1).acall("ee")

    found = run(main)
    assert (found.indices, found.scores) == ([1], [6.0])


def test_the_corpus_is_embedded_once_however_many_ask():
    made, asked = [], []

    def vectorizer(texts):
        asked.append(len(texts))
        return vowels(texts)

    async def main():
        search = dspex.Embeddings(TEXTS, vectorizer)
        await asyncio.gather(*(search.acall(text) for text in "aeo"))
        await (await search.prepare()).acall("a")

    run(main, made)
    assert [provider.adds for provider in made] == [1]
    assert sorted(asked) == [1, 1, 1, 1, 3]


def test_its_options_are_those_of_the_index():
    made = []

    async def main():
        await dspex.Embeddings(TEXTS, vowels, brute_force_threshold=7, normalize=False).acall("a")

    run(main, made)
    assert made[0].options == {"normalize": False, "approximate_from": 7, "path": None}


def test_where_the_plugin_is_missing_the_error_says_what_to_install():
    async def main():
        async with dspex.App(plugins=PluginManager(list, environ={})):
            with pytest.raises(dspex.ConfigurationError, match="dspex-vectors"):
                await dspex.Embeddings(TEXTS, vowels).acall("a")

    asyncio.run(main())


def test_a_failed_embedding_is_told_and_may_be_tried_again():
    steps = [dspex.BadRequest("no")]

    def vectorizer(texts):
        if steps:
            raise steps.pop()
        return vowels(texts)

    async def main():
        search = dspex.Embeddings(TEXTS, dspex.Embedder(vectorizer, num_retries=0))
        with pytest.raises(dspex.BadRequest, match="no"):
            await search.acall("a")
        return await search.acall("a", k=1)

    assert run(main).passages == ["aaa"]


class Memory:
    """A CacheBackend in memory."""

    def __init__(self):
        self.kept = {}

    async def get(self, key):
        return self.kept.get(key)

    async def set(self, key, value, ttl=None):
        self.kept[key] = value

    async def aclose(self):
        pass


def test_kept_results_are_those_of_one_corpus_and_embedder():
    asked = []

    def vectorizer(texts):
        asked.append(texts)
        return vowels(texts)

    def other(texts):
        return [row[::-1] for row in vowels(texts)]

    async def main():
        first = dspex.Embeddings(TEXTS, vectorizer, k=1, cache=True)
        found = [(await first.acall("ae")).passages for _ in range(2)]
        again = await dspex.Embeddings(list(TEXTS), vectorizer, k=1, cache=True).acall("ae")
        reordered = await dspex.Embeddings(TEXTS[::-1], vectorizer, k=1, cache=True).acall("ae")
        others = await dspex.Embeddings(TEXTS, other, k=1, cache=True).acall("oa")
        return found, again.indices, reordered.indices, others.passages

    assert run(main, cache=Memory()) == ([["aaa"]] * 2, [0], [1], ["aaa"])
    assert asked.count(["ae"]) == 2


def test_a_cassette_plays_it_without_plugin_and_embedder(tmp_path):
    async def main():
        search = dspex.Embeddings(TEXTS, vowels, k=1)
        await search.prepare()
        with dspex.cassette(tmp_path / "tape.jsonl"):
            return await search.acall("ee")

    recorded = run(main)

    async def played():
        async with dspex.App(plugins=PluginManager(list, environ={})):
            with dspex.cassette(tmp_path / "tape.jsonl", mode="replay"):
                return await dspex.Embeddings(TEXTS, vowels, k=1).acall("ee")

    assert asyncio.run(played()).toDict() == recorded.toDict()


def test_it_serves_as_the_retriever_of_the_settings():
    async def main():
        with dspex.context(rm=dspex.Embeddings(TEXTS, vowels)):
            return (await dspex.Retrieve(k=2).acall("oa")).passages

    assert set(run(main)) == {"aaa", "ooo"}


def test_what_was_saved_opens_without_embedding_it_again(tmp_path):
    asked = []

    def vectorizer(texts):
        asked.append(texts)
        return vowels(texts)

    async def main():
        await dspex.Embeddings(TEXTS, vowels, k=2, brute_force_threshold=9).asave(tmp_path / "index")
        opened = dspex.Embeddings.from_saved(tmp_path / "index", vectorizer)
        scored = dspex.EmbeddingsWithScores.from_saved(str(tmp_path / "index"), vectorizer)
        assert (
            opened._traits()["index"].split("-")[1] == dspex.Embeddings(TEXTS, vowels)._traits()["index"].split("-")[1]
        )
        return opened.k, opened.brute_force_threshold, await opened.acall("e"), (await scored.acall("e")).scores

    k, threshold, found, scores = run(main)
    assert (k, threshold, found.indices[0], len(found.passages), len(scores)) == (2, 9, 1, 2, 2)
    assert asked == [["e"], ["e"]]
    assert (tmp_path / "index" / "config.json").stat().st_mode & 0o777 == 0o600


def test_saved_again_its_file_is_replaced_and_never_half_written(tmp_path):
    config, old = tmp_path / "index" / "config.json", tmp_path / "old"

    async def main():
        await dspex.Embeddings(TEXTS, vowels, k=2).asave(config.parent)
        old.hardlink_to(config)
        before = config.read_bytes()
        await dspex.Embeddings(TEXTS, vowels, k=3).asave(config.parent)
        return before

    assert run(main) == old.read_bytes() != config.read_bytes()


def test_a_missing_folder_is_an_os_error_and_a_damaged_one_is_told(tmp_path):
    for kind in (OSError, FileNotFoundError, dspex.RetrieverError):
        with pytest.raises(kind, match="no saved index"):
            dspex.Embeddings.from_saved(tmp_path / "absent", vowels)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(dspex.RetrieverError, match="cannot be used"):
        dspex.Embeddings.from_saved(tmp_path, vowels)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("text", vowels), dspex.InputError),
        ((["a", 3], vowels), dspex.InputError),
        ((TEXTS, 3), ValueError),
        ((TEXTS, "model"), dspex.ConfigurationError),
        ((TEXTS, vowels, 0), dspex.ConfigurationError),
    ],
    ids=["text", "item", "number", "no provider", "k"],
)
def test_what_cannot_be_meant_is_refused_when_it_is_made(arguments, kind):
    with pytest.raises(kind):
        dspex.Embeddings(*arguments)


def test_an_empty_corpus_has_nothing_to_find():
    async def main():
        return (await dspex.Embeddings([], vowels).acall("a")).passages

    assert run(main) == []


def test_in_a_program_it_is_shared_by_copies_and_told_apart():
    class Program(dspex.Module):
        def __init__(self, corpus):
            self.search = dspex.Embeddings(corpus, vowels)

    one, other = Program(TEXTS), Program(TEXTS[:2])
    assert one.deepcopy().search is one.search
    assert one.search._traits() != other.search._traits()
    assert one.search._traits() == Program(list(TEXTS)).search._traits()
