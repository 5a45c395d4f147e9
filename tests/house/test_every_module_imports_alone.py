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
# the forks is not ours, so it hides no order among our modules. A module begins with the packages that it is in: those
# are imported once for all that is in them, which then has forks of its own.
PROGRAM = """
import importlib, json, os, sys, traceback
import aiohttp, click, csv, difflib, html, msgspec, pluggy, pytest, rich.console, structlog, tenacity, zipfile

def attempt(module):
    child = os.fork()
    if child:
        if os.waitpid(child, 0)[1]:
            print(module, "ends the process", flush=True)
        return
    try:
        importlib.import_module(module)
    except BaseException:
        print(module, traceback.format_exc(limit=-3), sep="\\n", flush=True)
    else:
        for inner in modules:
            if inner.rpartition(".")[0] == module:
                attempt(inner)
    os._exit(0)

modules = json.load(sys.stdin)
attempt("dspex")
"""


def first(sources: dict[str, str]) -> list[str]:
    """The modules that no other one imports by name."""
    whole = "\n".join(sources.values())
    return [name for name in sources if f"from {name} import" not in whole and not name.endswith("__main__")]


def with_packages(modules: list[str]) -> list[str]:
    """Modules and the packages that they are in."""
    parts = [name.split(".") for name in modules]
    return sorted({".".join(names[:depth]) for names in parts for depth in range(1, len(names) + 1)})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_every_module_imports_alone(sources, tmp_path):
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    modules = first(sources)
    assert len(modules) > 20
    done = subprocess.run(
        command, input=json.dumps(with_packages(modules)), capture_output=True, text=True, check=False, cwd=tmp_path
    )
    faults = done.stdout + done.stderr
    assert not faults, faults
