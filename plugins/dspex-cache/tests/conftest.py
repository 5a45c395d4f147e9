import pytest


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """The cache folder of a user who is not there."""
    monkeypatch.setenv("DSPEX_CACHE_DIR", str(tmp_path / "caches"))


@pytest.fixture
def path(tmp_path):
    """A cache file that does not exist yet."""
    return tmp_path / "caches" / "cache.sqlite"
