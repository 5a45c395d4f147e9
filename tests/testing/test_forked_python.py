"""What is forked is what a new Python would be, and is gone with whoever has asked for it."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from dspex.testing.forked_python import ForkedPython

SEES = """
import os, signal, sys, threading
print(sys.argv[1:], os.getcwd(), os.environ["HERE"], sys.path[0], __name__, globals().get("__file__"), repr(sys.stdin.read()))
print(threading.active_count(), signal.getsignal(signal.SIGCHLD), signal.set_wakeup_fd(-1), len(os.listdir("/dev/fd")))
"""
PROGRAMS = {
    "sees": SEES,
    "exit code": "raise SystemExit(3)",
    "error": "raise ValueError('no')",
    "Ctrl-C": "raise KeyboardInterrupt",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "atexit": "import atexit; atexit.register(print, 'ended')",
}
each_program = pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
WAITS = """
import os, signal
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"heard") and os._exit(3))
os.write(1, b"waits")
signal.pause()
"""


def told(done):
    """All but a traceback, in which another file may stand."""
    return done.returncode, done.stdout, done.stderr.splitlines()[-1:]


def started(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)


@each_program
def test_a_program_is_what_it_is_to_python(warm, tmp_path, monkeypatch, program):
    monkeypatch.setenv("HERE", "1")
    words = ("-c", program, "one", "two words")
    new = started(sys.executable, *words, cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert told(warm.run(*words, cwd=tmp_path)) == told(new)


@each_program
def test_the_command_is_what_python_is_to_a_script(warm, tmp_path, monkeypatch, program):
    monkeypatch.setenv("HERE", "1")
    (tmp_path / "script.py").write_text(program)
    words = (str(tmp_path / "script.py"), "one", "two words")
    new = started(sys.executable, *words, input="line")
    assert told(started(*warm.command, *words, input="line")) == told(new)


@pytest.fixture
def waiting(warm, tmp_path):
    """A command that waits for a signal."""
    (tmp_path / "waits.py").write_text(WAITS)
    with subprocess.Popen([*warm.command, tmp_path / "waits.py"], stdout=subprocess.PIPE) as process:
        assert process.stdout.read(5) == b"waits"
        yield process


def test_the_command_hands_signals_on(waiting):
    waiting.send_signal(signal.SIGTERM)
    assert (waiting.stdout.read(), waiting.wait()) == (b"heard", 3)


def test_a_program_dies_with_the_command(waiting):
    waiting.kill()
    assert waiting.stdout.read() == b"", "its end: it alone held the pipe"


def test_a_program_that_is_let_go_of_is_killed_with_what_it_has_forked(warm, tmp_path):
    out, its = os.pipe()
    with os.fdopen(out) as said:
        with contextlib.closing(warm.start("-c", f"import os; os.fork()\n{WAITS}", cwd=tmp_path, out=its, err=2)):
            os.close(its)
            assert said.read(10) == "waitswaits"
        assert not said.read()


def test_what_is_printed_before_is_no_word_of_a_program(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with contextlib.closing(ForkedPython()) as python:
        python.prepare("print('prepared')")
        assert python.run("-c", "print('here')", cwd=tmp_path).stdout == "here\n"
