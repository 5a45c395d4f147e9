"""A model that can do the tasks from demos only, and the demo run on it, here or in a process of its own."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dspex
from dspex.plugin import Capabilities, LMRequest, LMResponse, Usage
from dspex.testing import reset
from dspex_demo import command
from dspex_demo.tasks import TASKS

HERE = Path(__file__).parent


def pytest_configure() -> None:
    """Let processes of tests hear Ctrl-C: a shell starts what it runs in the background deaf to it, children included."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Clerk:
    """An LMProvider that knows all answers of a task, and gives them only where the prompt shows demos.

    With `log`, each call that reaches it is written there first and ended there after `delay` seconds.
    """

    capabilities = Capabilities(chat=False, max_concurrency=4)

    def __init__(self, task: str, seed: int = 0, log: Path | None = None, delay: float = 0.0) -> None:
        data = TASKS[task].data(seed)
        given, self._wanted = TASKS[task].given, TASKS[task].wanted
        self._answers = {one[given]: one[self._wanted] for one in (*data.train, *data.validation, *data.test)}
        self._prefix = f"{given.title()}: "
        self._log, self._delay = log, delay
        self.calls = 0

    async def complete(self, request: LMRequest) -> LMResponse:
        """The answer, where there are demos and the answer does not begin with an early letter."""
        self.calls += 1
        prompt = request.messages[-1].text
        *demos, asked = re.findall(rf"^{self._prefix}(.*)$", prompt, re.MULTILINE)
        self._note(f"+ {len(demos)} {asked} {hash_of(prompt)}")
        await asyncio.sleep(self._delay)
        self._note(f"- {len(demos)} {asked} {hash_of(prompt)}")
        # Which demos there are decides as well, so that one set is better than another.
        knows = demos and len(demos[0] + asked) % 4
        answer = self._answers[asked] if knows else "None, None"
        return LMResponse.from_text(f" {answer}", Usage(len(prompt) // 4, 4))

    def _note(self, line: str) -> None:
        if self._log is not None:
            with self._log.open("a") as file:
                file.write(f"{line}\n")


def hash_of(text: str) -> str:
    """A short name of a prompt."""
    return f"{sum(ord(letter) * (place + 1) for place, letter in enumerate(text)):x}"


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

    def start(folder: Path, log: Path, delay: float = 0.01, before: str = "") -> "subprocess.Popen[str]":
        program = f"""
            import sys
            from pathlib import Path
            import click, dspex
            from dspex.cli.main import cli, main
            sys.path.insert(0, {str(HERE)!r})
            from conftest import Clerk
            from dspex_demo import command
            {before}

            @cli.command("clerk")
            def clerk():
                provider = Clerk("name", 0, Path({str(log)!r}), {delay})
                command.run("name", 0, Path({str(folder)!r}), dspex.LM("office/clerk", provider=provider), False)

            sys.argv = ["dspex", "clerk"]
            main()
        """
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)],
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
