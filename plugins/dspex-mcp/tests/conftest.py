"""A real server, started by the tests, and a look at what of it is left."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dspex.testing
from dspex.testing.forked_python import ForkedPython
from dspex_mcp import connect

FOLDER = Path(__file__).parent
SERVER = str(FOLDER / "weather_server.py")
MUTE = "import os, sys; print(os.getpid(), file=open(sys.argv[1], 'w'), flush=True); sys.stdin.read()"

IMPORTED = (
    "anyio._backends._asyncio",
    "dspex.program.adapters",
    "dspex.program.predict",
    "dspex.testing.dummies",
    "dspex_mcp.serving",
    "mcp.server.mcpserver",
    "mcp.server.streamable_http_manager",
    "rich.logging",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
)


@pytest.fixture(autouse=True)
def reset() -> Iterator[None]:
    yield
    dspex.testing.reset()


@pytest.fixture(scope="session")
def python() -> Iterator[list[str]]:
    """What runs a script as a Python does, in one that has imported all that it needs: that takes seconds."""
    with contextlib.closing(ForkedPython()) as python:
        python.prepare(f"import {', '.join(IMPORTED)}")
        yield python.command


@pytest.fixture
def real_command() -> Any:
    """The command of the server, in a mode of its own; it takes seconds to begin."""
    return lambda *words: [sys.executable, SERVER, *words]


@pytest.fixture
def command(python) -> Any:
    """The command of the server, in a mode of its own, that is there at once."""
    return lambda *words: [*python, SERVER, *map(str, words)]


@pytest.fixture
def mute(tmp_path) -> tuple[list[str], Path]:
    """The command of a server that answers nothing, and the file where it leaves its pid as soon as it is there."""
    return [sys.executable, "-Sc", MUTE, str(tmp_path / "pid")], tmp_path / "pid"


@pytest.fixture
def weather(command) -> Any:
    """A connection to a server of its own, to be entered; settings are those of `connect`."""
    return lambda **settings: connect(command(), **settings)


@pytest.fixture
def over_http(command) -> Iterator[Any]:
    """Starts the server on HTTP, at a port that is free or given; gives its process and address."""
    started = []

    def start(port: int = 0) -> tuple[Any, str]:
        process = subprocess.Popen(command("http", port), stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return process, f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def tool(connection: Any, name: str) -> dspex.Tool:
    return next(one for one in connection.tools if one.name == name)


@pytest.fixture(name="tool")
def tool_fixture() -> Any:
    """A tool of a connection by its name."""
    return tool


@pytest.fixture
def is_gone() -> Any:
    """Waits until there is no process of that number."""

    async def is_gone(pid: int) -> bool:
        for _ in range(500):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
            await asyncio.sleep(0.01)
        return False

    return is_gone
