"""The command that makes a sandbox: what it mounts, unshares and forbids."""

import os
import platform
import shutil
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import MappingProxyType

from dspex.plugin import SandboxError

DISK = 64 << 20  # bytes that code may write
WORK = "/tmp"  # noqa: S108  of the sandbox, where nothing else is
USERS = 0x60000000, 0x10000000  # the first of the users that nobody is, and how many
MISSING = "dspex-bwrap needs the program bwrap, which is not on PATH. On Debian and Ubuntu: apt-get install bubblewrap"

_NEW_USER = 0x10000000
_EPERM, _ENOSYS, _ALLOW = 0x00050001, 0x00050026, 0x7FFF0000
# By machine: its mark, and its numbers of unshare, clone and clone3.
_CALLS = MappingProxyType({"x86_64": (0xC000003E, 272, 56, 435), "aarch64": (0xC00000B7, 97, 220, 435)})


def program() -> str:
    """The path of bwrap. Raises SandboxError that says how to get it."""
    found = shutil.which("bwrap") if sys.platform == "linux" else None
    if found is None:
        raise SandboxError(MISSING if sys.platform == "linux" else "dspex-bwrap works on Linux only: use dspex-monty.")
    return found


def is_root() -> bool:
    """Whether this process may become any user; it mounts as root then, and code runs as a user that nobody else is."""
    return os.geteuid() == 0


def command(inner: Sequence[str], folders: Iterable[str], seccomp: int | None) -> list[str]:
    """The words that run `inner` in a sandbox which sees the system, Python and `folders`, all read-only."""
    python = Path(sys.base_prefix).resolve()
    read = dict.fromkeys([str(python), *folders])
    binds = [word for path in read if not path.startswith("/usr/") for word in _bind(path)]
    return [
        *(program(), *_namespaces(), "--die-with-parent", "--new-session", "--hostname", "sandbox", "--clearenv"),
        *("--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", WORK, "--setenv", "PYTHONUTF8", "1"),
        *("--perms", "1777", "--size", str(DISK), "--tmpfs", WORK),
        *("--ro-bind", "/usr", "/usr", *_system(), *binds),
        *("--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"),
        *("--chdir", WORK, "--remount-ro", "/"),
        *(() if seccomp is None else ("--seccomp", str(seccomp))),
        *("--", str(Path(sys.executable).resolve()), "-I", "-S", *inner),
    ]


def _bind(path: str) -> list[str]:
    """Read-only, below folders that every user may pass through: those that bwrap makes by itself are its own user's."""
    above = [str(one) for one in reversed(Path(path).parents) if str(one) not in ("/", WORK)]
    return [*(word for one in above for word in ("--perms", "0755", "--dir", one)), "--ro-bind", path, path]


def _namespaces() -> list[str]:
    both = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    if is_root():
        # To become another user takes two rights, which go with the first user.
        return [*both, "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [*both, "--unshare-user", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]


def _system() -> list[str]:
    """Folders beside /usr, which on most systems are links into it, and what finds libraries."""
    words = [
        "--ro-bind-try",
        "/etc/ld.so.cache",
        "/etc/ld.so.cache",
        "--ro-bind-try",
        "/etc/alternatives",
        "/etc/alternatives",
    ]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        path = Path("/", name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            words += ["--ro-bind", str(path), str(path)]
    return words


def no_new_users() -> bytes:
    """A filter for seccomp: no user namespace inside, which would open more of the kernel to code. Empty if unknown here."""
    if platform.machine() not in _CALLS:
        return b""
    mark, unshare, clone, clone3 = _CALLS[platform.machine()]
    load, equal, has, give = 0x20, 0x15, 0x45, 0x06
    steps = [
        (load, 0, 0, 4),  # the machine: another one's calls have other numbers
        (equal, 1, 0, mark),
        (give, 0, 0, _EPERM),
        (load, 0, 0, 0),  # the call
        (equal, 0, 1, clone3),  # its flags cannot be seen; without it, libraries take clone
        (give, 0, 0, _ENOSYS),
        (equal, 1, 0, unshare),
        (equal, 0, 3, clone),
        (load, 0, 0, 16),  # its flags
        (has, 0, 1, _NEW_USER),
        (give, 0, 0, _EPERM),
        (give, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
