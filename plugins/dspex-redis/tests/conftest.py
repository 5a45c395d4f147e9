"""A real Redis server on the loopback, and one that is down."""

import os
import shutil
import socket
import subprocess
import time

import pytest


class Server:
    """A Redis server of the tests' own."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.password = "pw-canary-7261"
        self.url = f"redis://:{self.password}@127.0.0.1:{self.port}/0"
        self.process = None

    def start(self, *more):
        given = {"port": self.port, "bind": "127.0.0.1", "requirepass": self.password, "dir": self.folder, "save": ""}
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        self.process = subprocess.Popen(["redis-server", *words, *more], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise AssertionError("redis-server does not listen")

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="session")
def found():
    """That there is a server to start."""
    if shutil.which("redis-server") is None:
        if os.environ.get("CI"):
            raise AssertionError("redis-server is missing: apt-get install redis-server")
        pytest.skip("needs redis-server: apt-get install redis-server")


@pytest.fixture(scope="session")
def shared(found, tmp_path_factory):
    """The server that tests share, each by a prefix of its own."""
    server = Server(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own(found, tmp_path):
    """A server of one test's own, which it may stop; not started yet."""
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def no_address(monkeypatch):
    """Whatever the machine's user has set, tests find no server by it."""
    for name in ("DSPEX_REDIS_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
