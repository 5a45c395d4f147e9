"""A Chroma server for the whole run."""

import importlib.util
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

START_S = 30.0
# The command `chroma` without its client, which takes a second to import.
RUN = "import sys, chromadb_rust_bindings as chroma; chroma.cli(sys.argv)"


class Server:
    """The real server, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        if importlib.util.find_spec("chromadb_rust_bindings") is None:
            said = "These tests need chromadb, whose `chroma run` they talk to: pip install dspex-chroma[test]"
            pytest.fail(said) if os.environ.get("CI") else pytest.skip(said)
        command = [
            sys.executable,
            "-c",
            RUN,
            "run",
            "--path",
            self.folder,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        env = {**os.environ, "HOME": str(self.folder), "ANONYMIZED_TELEMETRY": "False"}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        end = time.monotonic() + START_S
        while not self.answers():
            if time.monotonic() > end or self.process.poll() is not None:
                self.stop()
                pytest.fail(f"The Chroma server did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/api/v2/heartbeat", timeout=1.0).close()
        except (urllib.error.URLError, OSError):
            return False
        return True

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all tests, each with a collection of its own."""
    made = Server(tmp_path_factory.mktemp("chroma"))
    yield made
    made.stop()


@pytest.fixture(scope="class")
def shared_server(request: pytest.FixtureRequest, server: Server) -> None:
    """The server, as an attribute of a test class."""
    request.cls.server = server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that a test may kill."""
    made = Server(tmp_path)
    yield made
    made.stop()
