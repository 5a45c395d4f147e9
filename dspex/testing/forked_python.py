"""A Python that has imported what programs need, and runs each program in a child of its own, forked in a few milliseconds.

What a child does from there on, to its last line on stderr, is what `python -c SOURCE ...` or `python SCRIPT ...` does. Each child
has a connection to who asked for it, in the manner that `stand_in` tells of.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dspex.testing import stand_in

ANSWER_S = 60
# A program ends as any does where no function of ours is around it.
SERVE = """
from dspex.testing.forked_python import serve
program = serve()
exec(program or "", __import__("sys").modules["__main__"].__dict__)
"""


class ForkedPython:
    """Runs programs, as `python` with these variables would that has imported what they need; closed, it ends them."""

    def __init__(self, **variables: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._address = f"{self._folder.name}/python"
        path = os.pathsep.join(filter(None, sys.path))
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self._address)
            listening.listen()
            self._process = subprocess.Popen(  # noqa: S603  a program of dspex's own
                [sys.executable, "-Pc", SERVE, str(listening.fileno())],
                env={**os.environ, "PYTHONPATH": path, **variables},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[listening.fileno()],
                start_new_session=True,  # a person's Ctrl-C is for the tests
            )

    def prepare(self, source: str) -> None:
        """Run this, imports above all, before what is asked for from now on."""
        stand_in.asked(self._address, [source], [], "", {}).close()

    @property
    def command(self) -> list[str]:
        """What runs a script as the command `python` does, though it need not import first: `[*command, SCRIPT, ...]`."""
        return [sys.executable, "-IS", stand_in.__file__, self._address]

    def start(self, *words: object, cwd: Path, out: int, err: int) -> "Child":
        """Begin a program, `-c SOURCE ...` or `SCRIPT ...`, with these descriptors as its outputs and nothing to read."""
        with Path(os.devnull).open() as nothing:
            descriptors = (nothing.fileno(), out, err)
            return Child(stand_in.asked(self._address, [*map(str, words)], descriptors, str(cwd), os.environ))

    def run(self, *words: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
        """A program from its begin to its end. Raises as `Child.wait`."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            with contextlib.closing(self.start(*words, cwd=cwd, out=out.fileno(), err=err.fileno())) as child:
                code = child.wait()
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess([*map(str, words)], code, out.read(), err.read())

    def close(self) -> None:
        """End it, and what it still runs."""
        self._process.communicate()
        self._folder.cleanup()
        assert self._process.returncode == 0


class Child:
    """A program that runs as process `pid`, in a session of its own; closed before its end, it is killed with all in there."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._code: int | None = None
        connection.settimeout(ANSWER_S)
        self.pid = stand_in.answered(connection)

    def wait(self) -> int:
        """Its exit code, when it has ended. Raises TimeoutError after a minute."""
        if self._code is None:
            self._code = stand_in.answered(self._connection)
            self._connection.close()
        return self._code

    def close(self) -> None:
        """Kill what has not ended."""
        if self._code is None:
            with self._connection:
                self._connection.shutdown(socket.SHUT_WR)
                self.wait()


def serve() -> types.CodeType | None:
    """Fork what is asked for until stdin ends; in a child, the program that it shall run."""
    children: dict[socket.socket, int] = {}
    with contextlib.ExitStack() as held:  # what is the server's, a child lets go of
        listening = held.enter_context(socket.socket(fileno=int(sys.argv[1])))
        ends = held.enter_context(_ends())
        sources: list[Any] = [0, listening, ends]
        while 0 not in (ready := select.select([*sources, *children], [], [])[0]):
            _attend(children, ends, ready)
            if listening not in ready:
                continue
            connection = held.enter_context(listening.accept()[0])
            (words, cwd, environment), descriptors = _received(connection)
            if not descriptors:
                exec(words[0], {})  # noqa: S102  it is ours
            elif child := _forked():
                children[connection] = child
                _answer(connection, child)
            else:
                return _become(words, cwd, environment, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
        for child in children.values():
            _end(child)
    return None


@contextlib.contextmanager
def _ends() -> Iterator[socket.socket]:
    """What can be read from when children have ended."""
    heard, told = socket.socketpair()
    told.setblocking(False)
    with heard, told:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        try:
            yield heard
        finally:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _attend(children: dict[socket.socket, int], ends: socket.socket, ready: list[Any]) -> None:
    """Pass signals on, and tell of those that have ended."""
    for connection in children.keys() & {*ready}:
        _signal(connection, children[connection])
    if ends in ready:
        ends.recv(1024)
    for connection, child in [*children.items()]:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            _answer(connection, os.waitstatus_to_exitcode(status))
            connection.close()
            del children[connection]


def _signal(connection: socket.socket, child: int) -> None:
    with contextlib.suppress(ConnectionError):
        if told := connection.recv(1):
            return os.kill(child, told[0])
    return _end(child)  # nobody is there any more


def _end(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has a session only when it has begun
        os.killpg(child, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)


def _answer(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(ConnectionError):
        connection.sendall(struct.pack("!i", number))


def _received(connection: socket.socket) -> tuple[Any, list[int]]:
    head, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
    [length] = struct.unpack("!i", head)
    return json.loads(connection.recv(length, socket.MSG_WAITALL)), descriptors


def _forked() -> int:
    sys.stdout.flush()  # else each child would say it too
    gc.freeze()  # a child collects at its end, which would copy all that is shared
    with warnings.catch_warnings():
        # Since 3.12 a fork beside threads, such as numpy's, is warned of.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _become(words: list[str], cwd: str, environment: dict[str, str], descriptors: list[int]) -> types.CodeType:
    """Take what the asker has, and be what `python` is with these words."""
    os.setsid()  # so that what it forks can be ended with it
    for standard, descriptor in enumerate(descriptors):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    if words[0] == "-c":
        sys.argv[:] = ["-c", *words[2:]]
        sys.path.insert(0, "")
        return compile(words[1], "<string>", "exec")
    sys.argv[:] = words
    sys.path.insert(0, str(Path(words[0]).resolve().parent))
    main.__file__ = words[0]
    return compile(Path(words[0]).read_bytes(), words[0], "exec")
