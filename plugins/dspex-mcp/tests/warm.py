"""A Python that has imported the MCP SDK and dspex, and runs each script that `run_warm.py` asks for in a child of its own.

The imports take seconds, a fork some milliseconds. What a child does from there on is what any interpreter does: it has the
asker's descriptors, folder and variables, hears its signals, and is killed where the asker is gone.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading

IMPORTED = (
    "anyio._backends._asyncio",
    "dspex.program.adapters",
    "dspex.program.predict",
    "dspex.testing.dummies",
    "dspex_mcp.serving",
    "mcp.server.mcpserver",
    "mcp.server.streamable_http_manager",
    "rich.logging",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
)


def main(listening: socket.socket) -> list[str]:
    """Serve until stdin ends; in a child, the script that it shall run and its arguments."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that have ended are gone
    while listening in select.select([listening, sys.stdin], [], [])[0]:
        connection, _ = listening.accept()
        head, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
        asked = json.loads(connection.recv(int.from_bytes(head), socket.MSG_WAITALL))
        if not os.fork():
            become(asked, descriptors)
            threading.Thread(target=follow, args=(connection,), daemon=True).start()
            return asked["words"]
        for descriptor in (connection.detach(), *descriptors):
            os.close(descriptor)
    return []


def become(asked: dict, descriptors: list[int]) -> None:
    """Take what the asker has."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for standard, descriptor in enumerate(descriptors):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])


def follow(asker: socket.socket) -> None:
    """Get the signals that the asker gets, each told by its number, and end with it."""
    while told := asker.recv(1):
        os.kill(os.getpid(), told[0])
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # a child collects at its end, which would copy all that is shared
    with socket.socket(fileno=int(sys.argv[1])) as served:
        words = main(served)
    if words:
        sys.argv[:] = words
        runpy.run_path(words[0], run_name="__main__")
