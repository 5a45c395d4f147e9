"""Providers in memory, and programs in processes of their own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PRELUDE = r"""
import asyncio, os, signal, sys, threading, time
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

    def __init__(self, source: str, folder: Path) -> None:
        # Since 3.12 a fork beside threads is warned of; the bridge's thread is such a one.
        options = ["-W", "error", "-W", "ignore::DeprecationWarning"]
        self.process = subprocess.Popen(
            [sys.executable, *options, "-c", PRELUDE + source],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that what it forks can be ended with it
        )

    def first_line(self) -> str:
        """Wait for a line of output."""
        assert self.process.stdout is not None
        line = b""
        # Byte by byte: what a buffered reader took beyond the line would be lost to `communicate`.
        while not line.endswith(b"\n") and (byte := os.read(self.process.stdout.fileno(), 1)):
            line += byte
        return line.decode().strip()

    def end(self) -> tuple[int, str, str, float]:
        """Exit code, the rest of its output, its errors, and the seconds that it still took."""
        began = time.monotonic()
        out, err = self.process.communicate(timeout=10)
        return self.process.returncode, out, err, time.monotonic() - began


@pytest.fixture
def program(tmp_path: Path) -> Any:
    """Starts a Program."""
    started: list[Program] = []

    def start(source: str) -> Program:
        started.append(Program(source, tmp_path))
        return started[-1]

    yield start
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.process.pid, signal.SIGKILL)
        one.process.communicate()


@pytest.fixture
def printed(program: Callable[[str], Program]) -> Callable[[str], list[str]]:
    """Runs a program to its end, which must be quiet, and gives the lines that it printed."""

    def run(source: str) -> list[str]:
        code, out, err, _ = program(source).end()
        assert (code, err) == (0, ""), err
        return out.splitlines()

    return run
