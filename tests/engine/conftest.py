"""The engine's laboratory, as a module and in programs."""

import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest

import dspex

LAB = Path(__file__).with_name("lab.py")
_spec = importlib.util.spec_from_file_location("lab", LAB)
assert _spec is not None
assert _spec.loader is not None
sys.modules["lab"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["lab"])


@pytest.fixture
def lab() -> ModuleType:
    """tests/engine/lab.py."""
    return sys.modules["lab"]


class Program:
    """A program that knows the lab, in a process of its own that is gone when it is left."""

    def __init__(self, warm: Any, source: str, *arguments: object, cwd: Path, err: int = 2) -> None:
        out, its = os.pipe()
        self.out = os.fdopen(out)
        known = f"import sys; sys.path.insert(0, {str(LAB.parent)!r})\n"
        self._child = warm.start("-c", known + source, *arguments, cwd=cwd, out=its, err=err)
        os.close(its)
        self.pid, self.wait = self._child.pid, self._child.wait

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()
        self.out.close()

    def kill(self) -> None:
        """Kill it, and wait for its end."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()


@pytest.fixture
def program(warm: Any, tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Starts a program: `program(source, *arguments)`."""
    with contextlib.ExitStack() as programs:

        def start(source: str, *arguments: object, err: int = 2) -> Program:
            return programs.enter_context(Program(warm, source, *arguments, cwd=tmp_path, err=err))

        yield start


@pytest.fixture
async def app():
    """An App of the test's own loop."""
    async with dspex.App() as app:
        yield app
