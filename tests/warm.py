"""A Python that has imported dspex and runs each program that it is sent in a child of its own, forked in a few milliseconds.

What a child does from there on, to its last line on stderr, is what any interpreter does: the program is its `__main__`, and
the interpreter ends by itself. Only the imports were made before.
"""

import contextlib
import gc
import importlib
import json
import os
import socket
import sys
import types
import warnings


def main(requests: socket.socket) -> str:
    """Serve until the other side closes; in a child, the program that it shall run."""
    while True:
        head, descriptors, _, _ = socket.recv_fds(requests, 4, 2)
        if not head:
            return ""
        asked = json.loads(requests.recv(int.from_bytes(head), socket.MSG_WAITALL))
        if "source" in asked:
            child = os.fork()
            if not child:
                requests.close()
                return become(asked, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            answer = child
        else:
            _, status = os.waitpid(asked["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        requests.sendall(answer.to_bytes(4, signed=True))


def become(asked: dict, descriptors: list[int]) -> str:
    """Take the arguments, settings, folder and outputs that a program shall have."""
    os.setsid()  # so that what it forks can be ended with it
    for descriptor, standard in zip(descriptors, (1, 2), strict=True):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv[:] = ["-c", *asked["arguments"]]
    if asked["strict"]:
        # As by `-W error -W ignore::DeprecationWarning`: since 3.12 a fork beside threads, such as the bridge's, is warned of.
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
    sys.modules["__main__"] = types.ModuleType("__main__")
    return asked["source"]


def load() -> None:
    """Import all that `dspex` offers, and its HTTP client."""
    for package in map(importlib.import_module, ("dspex", "dspex.testing")):
        for name in package.__all__:
            if not name.endswith("Contract"):  # which ask for pytest
                getattr(package, name)
    importlib.import_module("dspex.service.http")
    importlib.import_module("aiohttp")
    gc.freeze()


if __name__ == "__main__":
    load()
    with contextlib.closing(socket.socket(fileno=int(sys.argv[1]))) as served:
        program = main(served)
    exec(compile(program, "<string>", "exec"), sys.modules["__main__"].__dict__)
