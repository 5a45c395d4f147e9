"""What is special to these walls, and what is said where they cannot stand."""

import asyncio
import subprocess
import sys
import time

import pytest

import dspex
from dspex_bwrap import walls
from dspex_bwrap.sandbox import BwrapSandbox


def value(code, **options):
    """What code gives, if it does not fail."""
    output = asyncio.run(BwrapSandbox().run(code, **options))
    assert not output.error, output.error
    return output.value


def test_a_run_takes_a_tenth_of_a_second_at_most():
    async def work():
        sandbox, times = BwrapSandbox(), []
        for _ in range(10):
            began = time.perf_counter()
            assert (await sandbox.run("sum(range(10))")).value == 45
            times.append(time.perf_counter() - began)
        return min(times)

    # The machine's other work is none of the sandbox's: the quickest run tells.
    assert asyncio.run(work()) < 0.1


@pytest.mark.fault("X10")
def test_code_is_a_user_without_rights():
    code = "import os\n[os.getuid(), [line.split()[1] for line in open('/proc/self/status') if line[:3] == 'Cap'], os.getgroups()]"
    user, [_inheritable, permitted, effective, *_], groups = value(code)
    assert user != 0
    assert permitted == effective == "0" * 16
    assert not groups or not walls.is_root()


@pytest.mark.skipif(not walls.no_new_users(), reason="no filter for this machine's calls")
@pytest.mark.parametrize("flags", [0x10000000, 0x10020000], ids=["users", "users and mounts"])
def test_code_makes_no_namespace_of_users(flags):
    code = f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n[libc.unshare({flags}), ctypes.get_errno()]"
    assert value(code) == [-1, 1]


def test_code_starts_programs_and_writes_its_own_files():
    code = "import subprocess\nopen('a', 'w').write('x')\nsubprocess.run(['cat', 'a'], capture_output=True, text=True).stdout"
    assert value(code) == "x"


def test_what_programs_print_is_heard_too():
    output = asyncio.run(BwrapSandbox().run("import os, sys\nos.system('echo one')\nprint('two', file=sys.stderr)"))
    assert output.stdout == "one\ntwo\n"


def test_folders_are_read_where_they_are_given(tmp_path):
    (tmp_path / "mine.py").write_text("x = 5")
    tmp_path.chmod(0o777)
    sandbox = BwrapSandbox({"paths": [tmp_path]})
    assert asyncio.run(sandbox.run("import mine\nmine.x")).value == 5
    assert "Read-only" in asyncio.run(sandbox.run(f"open({str(tmp_path / 'other')!r}, 'w')")).error
    assert not (tmp_path / "other").exists()
    assert "There are no packages" not in sandbox.about


@pytest.mark.parametrize("options", [{"path": "/usr"}, {"paths": ["/no/such/folder"]}])
def test_options_that_cannot_be_meant_are_refused(options):
    with pytest.raises(dspex.ConfigurationError, match="paths, folders that exist"):
        BwrapSandbox(options)


async def test_without_bubblewrap_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(dspex.SandboxError, match="apt-get install bubblewrap"):
        await BwrapSandbox().run("1")


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """A bwrap that says what it says where the kernel forbids namespaces."""
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


@pytest.mark.usefixtures("refused")
async def test_where_namespaces_are_forbidden_it_says_so():
    with pytest.raises(dspex.SandboxError, match="No permissions to create new namespace"):
        await BwrapSandbox().run("1")


@pytest.mark.usefixtures("refused")
def test_the_doctor_says_so_too():
    done = subprocess.run([sys.executable, "-m", "dspex", "doctor"], capture_output=True, text=True, check=False)
    assert "PROBLEM: bwrap cannot be used. SandboxError: bubblewrap cannot make a sandbox here" in done.stdout
    assert done.returncode == 1


def test_the_doctor_says_that_it_works():
    done = subprocess.run([sys.executable, "-m", "dspex", "doctor"], capture_output=True, text=True, check=False)
    assert "bwrap: bubblewrap makes sandboxes here" in done.stdout
