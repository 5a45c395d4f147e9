"""The kit of sandboxes notices one that lets code out."""

import os
import re
import signal
import socket
from pathlib import Path

import pytest

from dspex.plugin import Output
from dspex.testing import SandboxContract


def reads(code):
    """Finds the host's secret, wherever the code names it."""
    found = re.search(r"'(/[^']*secret)'", code)
    return Path(found[1]).read_text() if found else ""


def writes(code):
    """Makes the file that must not be."""
    found = re.search(r"'(/[^']*marker)'", code)
    if found:
        Path(found[1]).write_text("x")
    return ""


def connects(code):
    """Calls where the code wants to."""
    found = re.search(r"'127.0.0.1', (\d+)", code)
    if not found:
        return ""
    with socket.create_connection(("127.0.0.1", int(found[1])), 5) as there:
        there.recv(100)
    return ""


def kills(code):
    """Ends the process that the code wants ended."""
    found = re.search(r"os.kill\((\d+), ", code)
    if found:
        os.kill(int(found[1]), signal.SIGKILL)
        os.waitid(os.P_PID, int(found[1]), os.WEXITED | os.WNOWAIT)  # it is seen once it is gone
    return ""


CHECKS = {
    "reads": (reads, SandboxContract.test_it_reads_no_file_of_the_host, "read the host's secret"),
    "writes": (writes, SandboxContract.test_it_writes_no_file_of_the_host, "wrote into the host's folder"),
    "environment": (
        lambda code: str(dict(os.environ)),
        SandboxContract.test_it_sees_no_environment_of_the_host,
        "read the host's secret",
    ),
    "network": (connects, SandboxContract.test_it_has_no_network, "reached the host's port"),
    "processes": (
        kills,
        SandboxContract.test_it_harms_no_process_and_not_its_own_sandbox,
        "ended a process of the host",
    ),
    "output": (lambda code: "x" * 50_000, SandboxContract.test_output_is_bounded, "endless output"),
    "bombs": (lambda code: "", SandboxContract.test_time_memory_and_processes_are_bounded, "forks"),
    "escaped": (lambda code: "ESC" + "APED", SandboxContract.test_it_has_no_network, "escaped"),
}


@pytest.mark.parametrize("name", CHECKS)
def test_what_gets_out_is_named(name, tmp_path):
    does, check, words = CHECKS[name]

    class Leaks:
        async def run(self, code, *, files=None, tools=None, limits=None):
            return Output("", 4) if code == "2 + 2" else Output(does(code))

    class Contract(SandboxContract):
        def make(self):
            return Leaks()

    with pytest.raises(AssertionError, match=words):
        check(Contract(), tmp_path)


def test_a_sandbox_that_dies_of_it_is_named(tmp_path):
    class Dies:
        async def run(self, code, *, files=None, tools=None, limits=None):
            return Output("", 5)

    class Contract(SandboxContract):
        def make(self):
            return Dies()

    with pytest.raises(AssertionError, match="after open"):
        Contract().test_it_reads_no_file_of_the_host(tmp_path)
