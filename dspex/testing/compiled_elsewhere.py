"""Compiles of a kit in processes of their own, forks of a Python that has imported dspex and the kit before."""

import atexit
import contextlib
import functools
import gc
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from dspex.testing.doubling import killed_at

END_S = 60
SERVE = "from dspex.testing.compiled_elsewhere import serve; serve()"


@functools.cache
def python(hashes: str) -> "ForkedPython":
    """The one with this order of hashes; it ends with this process."""
    return ForkedPython(hashes)


class ForkedPython:
    """A Python of its own order of hashes, a fork of which makes what is asked for as a new one would, but for the imports."""

    def __init__(self, hashes: str) -> None:
        environment = {**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(  # noqa: S603  a program of dspex's own
            [sys.executable, "-c", SERVE],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a person's Ctrl-C is for the tests
        )
        atexit.register(self._process.communicate)

    def run(self, kit: type, folders: Sequence[Path], kill_at: int) -> "subprocess.CompletedProcess[str]":
        """Compile by that kit, defined at the top of its file, once a folder, and be killed at that call if it is not 0."""
        arguments = [*map(str, (sys.modules[kit.__module__].__file__, kit.__qualname__, kill_at, *folders))]
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        imported = [name for name in sys.modules if name.startswith("dspex")]
        asked.write(json.dumps([imported, arguments, {**os.environ}]) + "\n")
        asked.flush()
        return subprocess.CompletedProcess(arguments, *json.loads(answers.readline()))


def serve() -> None:
    """Answer each line with how a fork ended and what it wrote, until there are no more; in a fork, its work."""
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a kit prints when it is imported is no answer
    for line in requests:
        imported, [source, *arguments], environment = json.loads(line)
        with contextlib.suppress(Exception):  # which the fork will meet, and tell
            module_of(source)
            for name in imported:  # a compile imports more when it is made
                importlib.import_module(name)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            gc.freeze()  # what a fork does not touch it need not copy
            child = _forked()
            if not child:
                _become(environment, out.fileno(), err.fileno())
                return _compile(source, *arguments)
            _, status = os.waitpid(child, 0)
            out.seek(0)
            err.seek(0)
            told = [os.waitstatus_to_exitcode(status), out.read(), err.read()]
        answers.write(json.dumps(told) + "\n")
        answers.flush()
    return None


@functools.cache
def module_of(source: str) -> ModuleType:
    """A kit's file, imported by another name than pytest's."""
    spec = importlib.util.spec_from_file_location("the_kit", source)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["the_kit"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _forked() -> int:
    with warnings.catch_warnings():
        # Since 3.12 a fork beside threads, such as numpy's, is warned of.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _become(environment: dict[str, str], *outputs: int) -> None:
    signal.alarm(END_S)
    for output, standard in zip(outputs, (1, 2), strict=True):
        os.dup2(output, standard)
    os.environ.clear()
    os.environ.update(environment)


def _compile(source: str, name: str, kill_at: str, *folders: str) -> None:
    module = sys.modules["the_kit"] = module_of(source)
    kit: Any = getattr(module, name)()
    for folder in folders:
        outcome = kit.compiled(Path(folder), before=killed_at(int(kill_at)) if int(kill_at) else None)
        sys.stdout.write(f"{hashlib.blake2b(outcome.data).hexdigest()} {outcome.calls}\n")
