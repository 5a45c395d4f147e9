"""The kit for retrievers, and what happens between us and the engine beyond it."""

import re
import shutil
from pathlib import Path

import lancedb  # noqa: F401  its import begins a thread of its own, which is not ours to end
import pytest

import dspex
import dspex_lancedb
from dspex.plugin import Condition, Spec
from dspex.testing import RetrieverContract
from dspex_lancedb.provider import LanceProvider
from dspex_lancedb.rows import to_sql

README = (Path(__file__).parents[1] / "README.md").read_text()


def vowels(texts):
    return [[text.count(vowel) + 0.1 for vowel in "aeiou"] for text in texts]


class TestLanceDB(RetrieverContract):
    survives = True
    forks = False  # LanceDB's engine crashes in a forked child now and then: once in some thirty runs of this kit

    def spec(self) -> Spec:
        return dspex_lancedb.dspex_retrievers()[0]

    def at(self, folder):
        return {"path": str(folder / "index")}

    def broken(self, folder):
        (folder / "index").write_text("a file, no folder")
        return {"path": str(folder / "index")}


@pytest.mark.parametrize("distance", ["cosine", "l2", "dot"])
async def test_scores_rise_with_nearness(tmp_path, distance):
    async with dspex.App():
        docs = dspex.Retriever("lancedb", path=str(tmp_path), distance=distance, embedder=vowels)
        await docs.aadd(["banana", "kiwi"])
        first, second = await docs.acall("banana", 2)
    assert first.score > second.score
    assert first.text == "banana"


async def test_two_apps_over_one_folder_see_each_other(tmp_path):
    handles = [dspex.Retriever("lancedb", path=str(tmp_path), embedder=vowels, k=9) for _ in range(2)]
    async with dspex.App():
        await handles[0].aadd(["banana"])
        async with dspex.App():
            await handles[1].aadd(["kiwi"])
            assert len(await handles[1].acall("a")) == 2
        assert len(await handles[0].acall("a")) == 2


async def test_a_table_that_somebody_has_removed_is_made_anew(tmp_path):
    async with dspex.App():
        docs = dspex.Retriever("lancedb", path=str(tmp_path / "index"), embedder=vowels)
        await docs.aadd(["banana"])
        shutil.rmtree(tmp_path / "index")
        assert await docs.acall("banana") == []
        await docs.aadd(["banana"])
        shutil.rmtree(tmp_path / "index")
        await docs.aadd(["kiwi"])
        assert [passage.text for passage in await docs.acall("banana")] == ["kiwi"]


def test_what_is_quoted_stays_a_text():
    sql = to_sql((Condition("it's", "in", ("x' OR '1'='1", True, 2)), Condition("n", "lt", (3,))))
    assert "array_has(marks, '[\"it''s\",\"x'' OR ''1''=''1\"]')" in sql
    assert sql.endswith("< 3.0)")
    assert to_sql(()) is None


@pytest.mark.parametrize(
    "options",
    [{}, {"path": "x", "distance": "far"}, {"path": "x", "collection": "a/b"}, {"path": "x", "colection": "c"}],
)
def test_options_that_cannot_be_meant_are_refused(options):
    with pytest.raises(dspex.ConfigurationError, match="option of the lancedb retriever"):
        LanceProvider(options, None, dspex.Embedder(vowels))


def test_the_lines_of_the_readme_do_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec("\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL)), names := {})
    assert [passage.text for passage in names["docs"]("any", 9)] == ["kiwi"]
