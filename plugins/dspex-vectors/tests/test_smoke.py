"""The plugin as its users meet it, on every supported Python."""

import subprocess
import sys

import dspex


def vowels(texts):
    return [[text.count(vowel) + 0.1 for vowel in "aeiou"] for text in texts]


async def test_it_is_found_by_name_and_finds(tmp_path):
    embedder = dspex.Embedder(vowels, cache_key="vowels")
    async with dspex.App():
        retriever = dspex.Retriever("vectors", embedder=embedder, k=1)
        await retriever.aadd(["banana", "kiwi", dspex.Passage("beet", metadata={"root": True})])
        assert (await retriever.acall("papaya"))[0].text == "banana"
        assert (await retriever.acall("papaya", where={"root": True}))[0].text == "beet"
        await retriever.asave(str(tmp_path / "index"))
    async with dspex.App():
        opened = dspex.Retriever("vectors", embedder=embedder, path=str(tmp_path / "index"))
        assert len(await opened.acall(["a", "i"], 2)) == 2


def test_importing_the_plugin_loads_nothing_heavy():
    program = (
        "import sys, dspex.plugin; before = set(sys.modules); import dspex_vectors; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"numpy", "usearch", "asyncio"} & set(done.stdout.split())
