"""pytest's fixtures for the tests of a plugin: a conftest imports by name those that it wants. Only this module needs pytest."""

import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from dspex.core.messages import LMDelta, LMResponse
from dspex.testing import asking
from dspex.testing.dummies import reset
from dspex.testing.fault_server import FaultServer
from dspex.testing.quick_clock import QuickClock
from dspex.testing.wire_mock import WireMock, WireMockMissing
from dspex.testing.wire_mock_contract import MOCKED

OF_THE_USER = ("_API_KEY", "_API_BASE", "_BASE_URL", "_ENDPOINT", "_HOST")


@pytest.fixture(autouse=True)
def a_clean_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No key, address, cache or runs of the machine's user, and an App of its own for each test."""
    gc.collect()
    gc.freeze()  # what was there before is set aside: the collection after the test is cheap
    for name in [name for name in os.environ if name.endswith(OF_THE_USER)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DSPEX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("DSPEX_RUNS_DIR", str(tmp_path / "runs"))
    yield
    reset()
    gc.collect()  # what is left open warns now, where warnings are errors


@pytest.fixture(scope="session")
def mock() -> Iterator[WireMock]:
    """aimock; before any test has a cache folder of its own, so that it is installed once. Without it: skipped, a failure under CI."""
    try:
        with WireMock(MOCKED) as mock:
            yield mock
    except WireMockMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server that lies by script."""
    with FaultServer() as server:
        yield server


@pytest.fixture
def ask() -> Callable[..., Awaitable[LMResponse]]:
    """One call, by the way that Predict takes: `dspex.testing.ask`."""
    return asking.ask


@pytest.fixture
def stream() -> Callable[..., AsyncIterator[LMDelta]]:
    """As `ask`, in pieces: `dspex.testing.pieces`."""
    return asking.pieces


@pytest.fixture
def quick() -> QuickClock:
    """A clock whose waits are over at once."""
    return QuickClock()
