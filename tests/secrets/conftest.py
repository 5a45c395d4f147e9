"""Nothing of the machine's own plugins."""

import pytest


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is installed, these tests use none of it."""
    monkeypatch.setenv("DSPEX_PLUGINS", "none")
