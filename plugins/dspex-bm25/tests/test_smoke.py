"""The plugin as its users meet it, on every supported Python."""

import subprocess
import sys

import dspex


async def test_it_is_found_by_name_and_finds(tmp_path):
    async with dspex.App():
        retriever = dspex.Retriever("bm25", k=1)
        await retriever.aadd(["one apple", "two pears", dspex.Passage("three pears", metadata={"many": True})])
        assert (await retriever.acall("apple"))[0].text == "one apple"
        assert (await retriever.acall("pears", where={"many": True}))[0].text == "three pears"
        await retriever.asave(str(tmp_path / "index"))
    async with dspex.App():
        opened = dspex.Retriever("bm25", path=str(tmp_path / "index"))
        assert [len(found) for found in await opened.acall(["pears", "apple", "plum"])] == [2, 1, 0]


def test_importing_the_plugin_loads_nothing_heavy():
    program = (
        "import sys, dspex.plugin; before = set(sys.modules); import dspex_bm25; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"numpy", "bm25s", "asyncio"} & set(done.stdout.split())
