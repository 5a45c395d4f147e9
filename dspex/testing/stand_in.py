"""A command that stands for `python SCRIPT ARGUMENTS`: a child of a ForkedPython is that, with what this has, and each ends with the other."""

import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence

# It imports nothing of dspex: as a command it is there before that would be.


def asked(
    address: str, words: Sequence[str], descriptors: Sequence[int], cwd: str, environment: Mapping[str, str]
) -> socket.socket:
    """A connection to a child that runs these words; a byte to it is a signal, and without it the child is killed."""
    child = socket.socket(socket.AF_UNIX)
    child.connect(address)
    told = json.dumps([words, cwd, {**environment}]).encode()
    socket.send_fds(child, [struct.pack("!i", len(told))], descriptors)
    child.sendall(told)
    return child


def answered(child: socket.socket) -> int:
    """The child's process, then its exit code as soon as it has ended."""
    [number] = struct.unpack("!i", child.recv(4, socket.MSG_WAITALL))
    return int(number)


def stand(address: str, *words: str) -> int:
    """Be what a child is, to its exit code."""
    child = asked(address, words, (0, 1, 2), os.getcwd(), os.environ)  # noqa: PTH109  pathlib takes its time
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: child.sendall(bytes([number])))
    os.closerange(0, 3)  # the child alone holds the pipes: whoever reads them sees when it dies
    answered(child)
    code = answered(child)
    if code < 0:
        if code != -signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(stand(*sys.argv[1:]))
