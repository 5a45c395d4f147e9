"""The workers of one loop: chunks go to the one with the least to do, one that dies is replaced, what was in its hands is told lost."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

import msgspec

from dspex.plugin import Chunk, ExecutorRecord, Fault, RolloutRecord
from dspex_processes.child import Child, Job

CANCEL_S = 2.0
START_S = 60.0


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`workers` None: one for each processor that this process may use. A worker without a sign of life for `silence_s` is killed."""

    workers: int | None = None
    silence_s: float = 60.0


class Pool:
    """Workers, begun when there is work for them."""

    def __init__(self, options: Options, workers: int) -> None:
        self._options = options
        self._most = workers
        self._children: list[Child] = []
        self._hermit: Child | None = None
        self._all: set[Child] = set()  # with the hermit
        self._starting = asyncio.Lock()
        self._alone = asyncio.Lock()
        self._numbers = 0
        self._watching: asyncio.Task[None] | None = None

    async def run(self, chunks: Sequence[Chunk]) -> AsyncGenerator[ExecutorRecord, None]:
        """What becomes of the chunks' tasks. Raises ChildProcessError where no worker can be begun."""
        told: asyncio.Queue[ExecutorRecord | Exception] = asyncio.Queue()

        def tell(job: Job, record: ExecutorRecord) -> None:
            if isinstance(record, RolloutRecord):
                job.left.discard(record.task)
            told.put_nowait(record)

        jobs = [Job(self._number(), chunk, tell) for chunk in chunks]
        giving = asyncio.get_running_loop().create_task(self._give(jobs, told))
        left = sum(len(job.left) for job in jobs)
        try:
            while left:
                record = await told.get()
                if isinstance(record, Exception):
                    raise record
                left -= isinstance(record, RolloutRecord)
                yield record
        finally:
            await asyncio.shield(self._end_all(giving, jobs))  # whoever cancels may do so twice

    async def aclose(self) -> None:
        """End all workers."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        await asyncio.gather(*(child.aclose() for child in list(self._all)))

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return sorted(child.pid for child in self._all)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    # Giving out

    async def _give(self, jobs: Sequence[Job], told: "asyncio.Queue[ExecutorRecord | Exception]") -> None:
        try:
            for job in jobs:
                if all(task.attempt == 1 for task in job.chunk.tasks):
                    (await self._free()).work(job)
            for job in jobs:
                if job.child is None:
                    await self._work_alone(job)
        except OSError as error:
            told.put_nowait(ChildProcessError(f"a worker process could not be begun: {error}"))

    async def _free(self) -> Child:
        """The worker with the least to do, or a new one while there are fewer than there may be."""
        async with self._starting:
            able = [child for child in self._children if not child.is_ending]
            idle = next((child for child in able if not child.jobs), None)
            if idle is not None:
                return idle
            if len(able) < self._most:
                self._children.append(child := await self._begun())
                return child
            return min(able, key=lambda child: child.load)

    async def _work_alone(self, job: Job) -> None:
        """In a worker that has no other task meanwhile: this one may be what workers die of."""
        async with self._alone:
            if self._hermit is None or self._hermit.is_ending:
                self._hermit = await self._begun()
            self._hermit.work(job)
            try:
                await job.over.wait()
            except BaseException:
                if job.left:
                    self._hermit.kill("nobody waits for what it does")
                raise

    async def _begun(self) -> Child:
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch())
        child = await Child.begun(self._ended)
        self._all.add(child)
        return child

    # Ending

    async def _end_all(self, giving: "asyncio.Task[None]", jobs: Sequence[Job]) -> None:
        giving.cancel()
        await asyncio.gather(giving, return_exceptions=True)
        await asyncio.gather(*(self._end(job) for job in jobs))

    async def _end(self, job: Job) -> None:
        child = job.child
        if child is None or job.over.is_set():
            return
        child.cancel(job)
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_S):
                await job.over.wait()
            return
        child.kill("a program that was cancelled went on")  # such as a thread that computes
        await job.over.wait()

    def _ended(self, child: Child) -> None:
        self._all.discard(child)
        if child in self._children:
            self._children.remove(child)
        for job in child.jobs.values():
            for key in sorted(job.left):
                fault = Fault("dspex_processes.WorkerDied", f"worker {child.pid}: {child.why}")
                job.tell(job, RolloutRecord(key, "lost", fault=fault))
            job.over.set()
        child.jobs.clear()

    async def _watch(self) -> None:
        """Kill what is frozen, or does not get ready."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(self._options.silence_s, START_S) / 4)
            for child in list(self._all):
                silent = loop.time() - child.heard_at
                if silent > (self._options.silence_s if child.is_ready else START_S):
                    child.kill(f"it gave no sign of life for {silent:.0f} s")
