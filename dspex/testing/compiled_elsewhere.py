"""Compiles of a kit in processes of their own, forks of a Python that has imported dspex and the kit before."""

import atexit
import contextlib
import functools
import hashlib
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from dspex.testing.doubling import killed_at
from dspex.testing.forked_python import ForkedPython


@functools.cache
def python(hashes: str) -> ForkedPython:
    """The one with this order of hashes; it ends with this process."""
    python = ForkedPython(PYTHONHASHSEED=hashes)
    atexit.register(python.close)
    return python


def run(kit: type, hashes: str, folders: Sequence[Path], kill_at: int) -> "subprocess.CompletedProcess[str]":
    """Compile by that kit, defined at the top of its file, once a folder, and be killed at that call if it is not 0."""
    source = sys.modules[kit.__module__].__file__
    imported = [name for name in sys.modules if name.startswith("dspex")]
    python(hashes).prepare(f"from {__name__} import know; know({source!r}, {imported!r})")
    given = f"{source!r}, {kit.__qualname__!r}, {kill_at}, {[*map(str, folders)]!r}"
    return python(hashes).run("-c", f"from {__name__} import compiled; compiled({given})", cwd=Path.cwd())


def know(source: str, imported: Sequence[str]) -> None:
    """Import a kit's file and these modules: a compile imports more when it is made."""
    with contextlib.suppress(Exception):  # which the fork will meet, and tell
        module_of(source)
        for name in imported:
            importlib.import_module(name)


@functools.cache
def module_of(source: str) -> ModuleType:
    """A kit's file, imported by another name than pytest's."""
    spec = importlib.util.spec_from_file_location("the_kit", source)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["the_kit"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compiled(source: str, name: str, kill_at: int, folders: Sequence[str]) -> None:
    """Print a line of what tells the result in each folder from another."""
    module = sys.modules["the_kit"] = module_of(source)
    kit: Any = getattr(module, name)()
    for folder in folders:
        outcome = kit.compiled(Path(folder), before=killed_at(kill_at) if kill_at else None)
        sys.stdout.write(f"{hashlib.blake2b(outcome.data).hexdigest()} {outcome.calls}\n")
