"""Providers in memory, and programs in processes of their own."""

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

PRELUDE = r"""
import asyncio, os, signal, sys, threading, time, warnings
# As by `-W error -W ignore::DeprecationWarning`: since 3.12 a fork beside threads, such as the bridge's, is warned of.
warnings.simplefilter("error")
warnings.simplefilter("ignore", DeprecationWarning)
import dspex
from dspex.plugin import LMResponse, Usage

def say(*words):
    os.write(1, " ".join(map(str, words)).encode() + b"\n")  # at once: two processes share the pipe

class Provider:
    def __init__(self, seconds=0.0):
        self.seconds, self.asked = seconds, 0

    async def complete(self, request):
        self.asked += 1
        if self.seconds:
            say("asked")
        await asyncio.sleep(self.seconds)
        return LMResponse.from_text("[[ ## answer ## ]]\n4", Usage(10, 5))

fast, slow = (dspex.LM(f"{name}/m", provider=Provider(seconds)) for name, seconds in (("fast", 0), ("slow", 60)))
predict = dspex.Predict("question -> answer")
"""


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is installed, these tests use none of it."""
    monkeypatch.setenv("DSPEX_PLUGINS", "none")


class Program:
    """A Python program in a process of its own, which has `fast` and `slow` LMs and a `predict`."""

    def __init__(self, warm: Any, source: str, folder: Path, err: IO[str]) -> None:
        self._err = err
        self._out, its = os.pipe()
        self._child = warm.start("-c", PRELUDE + source, cwd=folder, out=its, err=err.fileno())
        os.close(its)

    def first_line(self) -> str:
        """Wait for a line of output."""
        line = b""
        while not line.endswith(b"\n") and (byte := os.read(self._out, 1)):
            line += byte
        return line.decode().strip()

    def interrupt(self) -> None:
        """Press Ctrl-C when it waits: asyncio.run sees one that comes just before when its wait ends."""
        stat = Path(f"/proc/{self._child.pid}/stat")
        while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "R":
            os.sched_yield()
        os.kill(self._child.pid, signal.SIGINT)

    def end(self) -> tuple[int, str, str, float]:
        """Exit code, the rest of its output, its errors, and the seconds that it still took."""
        began = time.monotonic()
        code = self._child.wait()
        seconds = time.monotonic() - began
        with open(self._out, closefd=False) as out:
            self._err.seek(0)
            return code, out.read(), self._err.read(), seconds

    def close(self) -> None:
        """End it and all that it has forked."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.close()
        os.close(self._out)


@pytest.fixture
def program(warm: Any, tmp_path: Path) -> Any:
    """Starts a Program."""
    with contextlib.ExitStack() as opened:

        def start(source: str) -> Program:
            err = opened.enter_context(tempfile.TemporaryFile("w+"))
            return opened.enter_context(contextlib.closing(Program(warm, source, tmp_path, err)))

        yield start


@pytest.fixture
def printed(program: Callable[[str], Program]) -> Callable[[str], list[str]]:
    """Runs a program to its end, which must be quiet, and gives the lines that it printed."""

    def run(source: str) -> list[str]:
        code, out, err, _ = program(source).end()
        assert (code, err) == (0, ""), err
        return out.splitlines()

    return run
