"""The lines of stdin, for a server that is to end at Ctrl-C though nobody writes another one."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

AHEAD = 64  # lines that are read before they are asked for


@contextmanager
def lines() -> Iterator[AsyncIterator[str] | None]:
    """The lines of stdin as they come; whatever else reads it meanwhile finds it empty. None where it is no file of the system's."""
    try:
        theirs = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        yield None
        return
    own = os.dup(theirs)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, theirs)
    os.close(nothing)
    try:
        yield _read(os.fdopen(own, "rb", closefd=False))  # a thread may still wait there when all is over
    finally:
        os.dup2(own, theirs)


async def _read(stream: BinaryIO) -> AsyncIterator[str]:
    # The SDK reads in a thread that it waits for, also when it is cancelled: until the client writes or goes.
    loop, room = asyncio.get_running_loop(), threading.Semaphore(AHEAD)
    came: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        with suppress(RuntimeError):  # the loop is closed
            while room.acquire():
                line = stream.readline()
                loop.call_soon_threadsafe(came.put_nowait, line)
                if not line:
                    return

    threading.Thread(target=read, name="dspex-mcp-stdin", daemon=True).start()
    while line := await came.get():
        room.release()
        yield line.decode(errors="replace")
