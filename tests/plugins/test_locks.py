"""The lock of a path: one holder at a time, and free as soon as that one leaves."""

import fcntl
import os
import stat
import subprocess
import sys

import pytest

from dspex.plugin import locked

FORKED = """
import os, pathlib, sys
from dspex.plugin.locks import locked
ends, child_ends = os.pipe()
with locked(pathlib.Path(sys.argv[1])):
    child = os.fork()
    if not child:
        os.close(child_ends)
        os.read(ends, 1)
        os._exit(0)
with locked(pathlib.Path(sys.argv[1])):
    print("free")
os.close(child_ends)
os.waitpid(child, 0)
"""


def is_free(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


@pytest.mark.parametrize("name", [".", "index.lock"], ids=["a folder", "a file"])
def test_a_path_is_held_until_its_holder_leaves(tmp_path, name):
    path = tmp_path / name
    with locked(path):
        assert not is_free(path)
    assert is_free(path)


def test_the_file_of_a_lock_is_the_users_alone(tmp_path):
    with locked(tmp_path / "index.lock"):
        assert stat.S_IMODE((tmp_path / "index.lock").stat().st_mode) == 0o600


def test_a_path_that_cannot_be_opened_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), locked(tmp_path / "missing" / "index.lock"):
        raise AssertionError


def test_a_child_that_was_forked_meanwhile_does_not_go_on_holding_it(tmp_path):
    command = [sys.executable, "-c", FORKED, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert said.stdout == "free\n"
