"""An App and folders of each test's own."""

import pytest

import dspex.testing


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """No run lies in the user's folders, and the default App ends with the test."""
    monkeypatch.setenv("DSPEX_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("DSPEX_CACHE_DIR", str(tmp_path / "cache"))
    yield
    dspex.testing.reset()
