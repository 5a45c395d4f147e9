"""aimock, a mock of many vendors' wires that others wrote, as a server on the loopback; npm brings it, node runs it."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from platformdirs import user_cache_path

from dspex.core.errors import ConfigurationError

PACKAGE, VERSION = "@copilotkit/aimock", "1.43.0"
INSTALL_S, START_S = 120.0, 20.0


class WireMockMissing(ConfigurationError):
    """The mock cannot be had here; the message says what is missing."""


class WireMock:
    """A context manager: answers OpenAI's, Anthropic's, Gemini's, Ollama's, Azure's and Bedrock's requests at `url`.

    `fixtures` are aimock's: `{"match": {"userMessage": "hello"}, "response": {"content": "Hi."}}`. It is installed below
    `DSPEX_CACHE_DIR`, once, and needs no network after that. Raises WireMockMissing.
    """

    def __init__(self, fixtures: Sequence[Mapping[str, Any]], *, chunk_size: int = 8) -> None:
        self.url = ""
        self._fixtures = fixtures
        self._chunk_size = chunk_size
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        node, program = found("node"), installed()
        self._folder = tempfile.TemporaryDirectory(prefix="dspex-wire-mock-")
        path = Path(self._folder.name, "fixtures.json")
        path.write_text(json.dumps({"fixtures": self._fixtures}), encoding="utf-8")
        command: list[str | Path] = [
            node,
            program,
            "-p",
            "0",
            "-f",
            path,
            "-c",
            str(self._chunk_size),
            "--log-level",
            "info",
        ]
        self._process = subprocess.Popen(  # noqa: S603  a fixed program; the fixtures are a file
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
        )
        self.url = self._listening(self._process)
        return self

    def __exit__(self, *exc_info: object) -> None:
        process, reader = self._process, self._reader
        if process is not None:
            process.kill()
            process.wait()
        if reader is not None:
            reader.join()
        if process is not None and process.stdout is not None:
            process.stdout.close()
        if self._folder is not None:
            self._folder.cleanup()

    def journal(self) -> list[dict[str, Any]]:
        """What was asked so far: `method`, `path`, `headers` and `body` of each request, the body in OpenAI's form."""
        with urllib.request.urlopen(f"{self.url}/__aimock/journal", timeout=START_S) as reply:  # noqa: S310  our own
            entries: list[dict[str, Any]] = json.load(reply)
        return entries

    def _listening(self, process: "subprocess.Popen[str]") -> str:
        """The address that it says it listens on; what it says later is read too, or it would wait for a reader."""
        lines: list[str] = []
        ready = threading.Event()

        def read() -> None:
            for line in process.stdout or ():
                if not ready.is_set():
                    lines.append(line)
                if "listening on" in line:
                    ready.set()
            ready.set()

        self._reader = threading.Thread(target=read, name="wire mock", daemon=True)
        self._reader.start()
        ready.wait(START_S)
        address = re.search(r"listening on (http://[\w.:]+)", "".join(lines))
        if address is None:
            said = "".join(lines)[-500:]
            self.__exit__()
            raise WireMockMissing(f"{PACKAGE} {VERSION} does not start: {said}")
        return address[1]


def installed() -> Path:
    """The mock's program, installed by npm where it is not there yet. Raises WireMockMissing."""
    root = Path(os.environ.get("DSPEX_CACHE_DIR") or user_cache_path("dspex"), "npm")
    home = root / f"aimock-{VERSION}"
    program = home / "node_modules" / PACKAGE / "dist" / "cli.js"
    if program.exists():
        return program
    npm = found("npm")
    root.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=root))
    flags = ["--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    command: list[str | Path] = [npm, "install", "--prefix", unfinished, *flags, f"{PACKAGE}@{VERSION}"]
    try:
        done = subprocess.run(  # noqa: S603  a fixed command
            command, capture_output=True, text=True, timeout=INSTALL_S, check=False, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise WireMockMissing(f"npm cannot install {PACKAGE} {VERSION}: {done.stderr[-500:] or done.stdout[-500:]}")
        if not program.exists():
            unfinished.rename(home)
    except subprocess.TimeoutExpired as error:
        raise WireMockMissing(f"npm has not installed {PACKAGE} {VERSION} within {INSTALL_S:g} s.") from error
    except OSError:
        if not program.exists():  # another process may have been first
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return program


def found(tool: str) -> str:
    """The path of a tool of node's. Raises WireMockMissing."""
    path = shutil.which(tool)
    if path is None:
        raise WireMockMissing(f"{tool} is not on PATH: install Node.js 20 or newer, which brings node and npm.")
    return path
