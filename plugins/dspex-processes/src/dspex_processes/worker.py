"""The worker: `python -m dspex_processes.worker`, begun by a coordinator and ended with it.

What programs print goes to the standard error, as the standard output belongs to the frames. When the coordinator is gone, however it
ended, its pipe is at an end, and so is the worker.
"""

import asyncio
import os
import sys
import threading
from typing import BinaryIO

import msgspec

import dspex
from dspex.plugin import Artifact, Chunk
from dspex_processes.frames import (
    Beat,
    Cancel,
    Forget,
    FromWorker,
    Over,
    Program,
    Ready,
    Setup,
    Told,
    ToWorker,
    Work,
    frame,
    read,
    to_worker,
)

LAST_S = 2.0  # what work may still take when nobody waits for it


class Worker:
    """Works what it is sent, until the pipe ends."""

    def __init__(self, there: BinaryIO, back: BinaryIO) -> None:
        self._there, self._back = there, back
        self._writing = threading.Lock()
        self._place = dspex.Workplace()
        self._programs: dict[str, Artifact] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._is_over = asyncio.Event()

    async def live(self, beat_s: float) -> None:
        """From the first frame to the last."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(loop,), name="dspex-processes-frames", daemon=True).start()
        threading.Thread(target=self._beat, args=(beat_s,), name="dspex-processes-beat", daemon=True).start()
        self.say(Ready())
        await self._is_over.wait()
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await self._place.aclose()

    def say(self, message: FromWorker) -> None:
        """Write a frame; from any thread."""
        try:
            with self._writing:
                self._back.write(frame(message))
                self._back.flush()
        except OSError:
            os._exit(1)  # nobody is left to work for

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while (body := read(self._there)) is not None:
                loop.call_soon_threadsafe(self._hear, to_worker.decode(body))
            loop.call_soon_threadsafe(self._is_over.set)
            # A program that holds the loop, or a thread of the interpreter, must not outlive its coordinator.
            threading.Event().wait(LAST_S)
        finally:
            os._exit(1)

    def _beat(self, every_s: float) -> None:
        pause = threading.Event()
        while not pause.wait(every_s):
            self.say(Beat())

    def _hear(self, message: ToWorker) -> None:
        if isinstance(message, Program):
            self._programs[message.artifact.key] = message.artifact
        elif isinstance(message, Forget):
            self._programs.clear()
        elif isinstance(message, Work):
            artifact = self._programs[message.chunk.program.key]
            chunk = msgspec.structs.replace(message.chunk, program=artifact)
            self._running[message.number] = asyncio.get_running_loop().create_task(self._work(message.number, chunk))
        elif isinstance(message, Cancel):
            task = self._running.get(message.number)
            if task is not None:
                task.cancel()

    async def _work(self, number: int, chunk: Chunk) -> None:
        records = self._place.run(chunk)
        try:
            async for record in records:
                self.say(Told(number, record))
        finally:
            await records.aclose()
            del self._running[number]
            self.say(Over(number))
            if not self._running and self._place.is_haunted:
                asyncio.get_running_loop().call_later(LAST_S, self._end_if_haunted)

    def _end_if_haunted(self) -> None:
        # A function that computes although its run was cancelled would take a processor from those that come.
        if not self._running and self._place.is_haunted:
            os._exit(1)


def main() -> None:
    """Live from frames, with the standard streams out of their way."""
    there, back = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    body = read(there)
    if body is None:
        return
    setup = to_worker.decode(body)
    assert isinstance(setup, Setup)
    sys.path[:] = setup.path

    async def live() -> None:
        await Worker(there, back).live(setup.beat_s)

    asyncio.run(live())
    os._exit(0)  # threads of programs that nobody waits for


if __name__ == "__main__":
    main()
