"""Any module of the kernel can be the first that a process imports, without a warning."""

import json
import os
import subprocess
import sys

import pytest

# A fork of a bare process for each module: a new interpreter each would cost ten times as much. What is imported before
# the forks is not ours, so it hides no order among our modules.
PROGRAM = """
import asyncio, importlib, json, os, sys, traceback
import msgspec, pluggy

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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_every_module_imports_alone(sources, tmp_path):
    modules = json.dumps([module for module in sources if not module.endswith("__main__")])
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    done = subprocess.run(command, input=modules, capture_output=True, text=True, check=False, cwd=tmp_path)
    faults = done.stdout + done.stderr
    assert not faults, faults
