"""The plugin as its users meet it, on every supported Python."""

import subprocess
import sys

import dspex


def vowels(texts):
    return [[text.count(vowel) + 0.1 for vowel in "aeiou"] for text in texts]


async def test_it_is_found_by_name_and_finds(server):
    async with dspex.App():
        docs = dspex.Retriever("chroma", api_base=server.url, collection="smoke", embedder=vowels, k=1)
        await docs.aadd(["banana", dspex.Passage("kiwi", metadata={"green": True})])
        assert (await docs.acall("papaya"))[0].text == "banana"
        assert (await docs.acall("papaya", where={"green": True}))[0].text == "kiwi"


def test_importing_the_plugin_loads_nothing_heavy():
    program = (
        "import sys, dspex.plugin; before = set(sys.modules); import dspex_chroma; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"chromadb", "aiohttp", "asyncio"} & set(done.stdout.split())
