"""Any module of the kernel can be the first that a process imports, without a warning.

Only modules that no other one imports are tried: as nothing is imported in a ring (`test_floors.py`), what they import is
in order too.
"""

import json
import os
import subprocess
import sys

import pytest

# A fork of a bare process for each module: a new interpreter each would cost ten times as much. What is imported before
# the forks is not ours, so it hides no order among our modules.
PROGRAM = """
import asyncio, importlib, json, os, sys, traceback
import aiohttp, click, msgspec, pluggy, tenacity

for module in json.load(sys.stdin):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            importlib.import_module(module)
        except BaseException:
            os.write(writer, traceback.format_exc(limit=-3).encode()[:60_000])
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        fault = pipe.read().decode()
    os.waitpid(child, 0)
    if fault:
        print(module, fault, sep="\\n", flush=True)
"""


def first(sources: dict[str, str]) -> list[str]:
    """The modules that no other one imports by name."""
    whole = "\n".join(sources.values())
    return [name for name in sources if f"from {name} import" not in whole and not name.endswith("__main__")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_every_module_imports_alone(sources, tmp_path):
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    modules = first(sources)
    assert len(modules) > 20
    done = subprocess.run(command, input=json.dumps(modules), capture_output=True, text=True, check=False, cwd=tmp_path)
    faults = done.stdout + done.stderr
    assert not faults, faults
