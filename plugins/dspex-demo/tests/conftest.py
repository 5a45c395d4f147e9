"""The demo run on a model that can do the tasks from demos only (`clerk.py`), here or in a process of its own."""

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dspex
from dspex.testing import reset
from dspex_demo import command

CLERK = str(Path(__file__).with_name("clerk.py"))
Clerk = runpy.run_path(CLERK)["Clerk"]


def pytest_configure() -> None:
    """Let processes of tests hear Ctrl-C: a shell starts what it runs in the background deaf to it, children included."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folders of a user who is not there, and an App of the test's own."""
    monkeypatch.setenv("DSPEX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("DSPEX_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("COLUMNS", "80")
    yield
    reset()


@pytest.fixture
def clerk() -> Callable[..., Clerk]:
    """The class of the model."""
    return Clerk


@pytest.fixture
def run_demo(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The demo on a provider in this process: what it prints."""

    def run(provider: Clerk, folder: Path, task: str = "name", seed: int = 0, **options: bool) -> str:
        command.run(task, seed, folder, dspex.LM("office/clerk", provider=provider), **options)
        return capsys.readouterr().out

    return run


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """The demo on the clerk in a process of its own, by the `dspex` command's own way of ending."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path, log: Path, *options: float) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, CLERK, folder, log, *map(str, options or (0.01,))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "DSPEX_CACHE_DIR": str(folder.parent / "cache")},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
