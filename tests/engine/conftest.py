"""The engine's laboratory, as a module and as a program."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

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


@pytest.fixture
async def app():
    """An App of the test's own loop."""
    async with dspex.App() as app:
        yield app
