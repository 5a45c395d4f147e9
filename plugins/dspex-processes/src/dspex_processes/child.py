"""One worker process, as its coordinator sees it: begun, spoken to, listened to, and ended in any case."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from dspex.plugin import Artifact, Chunk, ExecutorRecord
from dspex_processes.frames import (
    LENGTH,
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
    from_worker,
)

BEAT_S = 1.0
END_S = 3.0
GONE_S = 1.0
MOST_PROGRAMS = 256  # that a worker holds


class Job:
    """A chunk in a worker's hands: `tell` hears its records, `left` are the tasks without a rollout."""

    def __init__(self, number: int, chunk: Chunk, tell: Callable[["Job", ExecutorRecord], None]) -> None:
        self.number = number
        self.chunk = chunk
        self.tell = tell
        self.left = {task.key for task in chunk.tasks}
        self.over = asyncio.Event()
        self.child: Child | None = None


class Child:
    """A worker process; `on_end(child)` is called when it is gone, with its jobs still in `jobs`."""

    def __init__(self, process: asyncio.subprocess.Process, on_end: Callable[["Child"], None]) -> None:
        self.jobs: dict[int, Job] = {}
        self.is_ready = False
        self.is_ending = False
        self.why = ""
        self.heard_at = asyncio.get_running_loop().time()
        self._process = process
        self._on_end = on_end
        self._programs: set[str] = set()
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    @classmethod
    async def begun(cls, on_end: Callable[["Child"], None]) -> "Child":
        """A new process, which may not be ready yet. Raises OSError."""
        pipes: dict[str, Any] = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        # In a session of its own: Ctrl-C is for the coordinator, which ends its workers itself.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dspex_processes.worker", start_new_session=True, **pipes
        )
        child = cls(process, on_end)
        child._say(Setup(list(sys.path), BEAT_S))
        return child

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def load(self) -> int:
        """Tasks in its hands."""
        return sum(len(job.left) for job in self.jobs.values())

    def work(self, job: Job) -> None:
        """Give it a chunk; its program goes along once."""
        job.child, self.jobs[job.number] = self, job
        artifact = job.chunk.program
        if artifact.key not in self._programs:
            if len(self._programs) >= MOST_PROGRAMS:
                self._programs.clear()
                self._say(Forget())
            self._programs.add(artifact.key)
            self._say(Program(artifact))
        named = msgspec.structs.replace(job.chunk, program=Artifact(artifact.key, ""))
        self._say(Work(job.number, named))

    def cancel(self, job: Job) -> None:
        """Nobody waits for it."""
        self._say(Cancel(job.number))

    def kill(self, why: str) -> None:
        """End it at once; it is given nothing more."""
        self.is_ending, self.why = True, self.why or why
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                # Not `Process.kill`: it looks whether the process has ended, and so takes its status from asyncio.
                os.kill(self._process.pid, signal.SIGKILL)

    async def aclose(self) -> None:
        """End it: at its own pace while that is short."""
        self.is_ending = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        await asyncio.wait([self._listening], timeout=END_S)
        if not self._listening.done():
            self.kill("it was closed")
            await asyncio.wait([self._listening])

    def _say(self, message: ToWorker) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        if not stdin.is_closing():
            stdin.write(frame(message))

    async def _listen(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        try:
            while True:
                (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
                self._hear(from_worker.decode(await stdout.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except (msgspec.DecodeError, ValueError) as error:
            self.kill(f"it sent what is no frame: {error}")
        finally:
            await asyncio.wait([asyncio.ensure_future(self._process.wait())], timeout=GONE_S)
            if self._process.returncode is None:
                self.kill("it closed its pipe and lived on")
            status = await self._process.wait()
            self.why = self.why or f"it ended with status {status}"
            self.is_ending = True
            self._on_end(self)

    def _hear(self, message: FromWorker) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        if isinstance(message, Ready):
            self.is_ready = True
        elif isinstance(message, Told):
            job = self.jobs.get(message.number)
            if job is not None:
                job.tell(job, message.record)
        elif isinstance(message, Over):
            job = self.jobs.pop(message.number, None)
            if job is not None:
                job.over.set()
