"""Runs of programs that an executor makes: given out in chunks, taken back in any order, given out again where a worker died.

Whatever an executor does, each run ends: by its rollout, by an error of its own, or by ExecutorFailed, which ends them all.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any

import msgspec

from dspex.app.app import current_app
from dspex.core.errors import ConfigurationError, ExecutorFailed, WorkerLost
from dspex.core.guests import PASSING
from dspex.core.warn import warn
from dspex.evaluate.faults import error_of
from dspex.evaluate.leases import bound_for, larger, wall_of
from dspex.evaluate.orders import Attempt, Drive, Order, Work
from dspex.plugin.executors import CallRecord, Chunk, ExecutorRecord, RolloutRecord
from dspex.runtime.scope import SCOPE, Scope
from dspex.service.ledger import BudgetScope, Charge, lease_all

ATTEMPTS = 3  # workers that may die of one task
PATIENCE_S = 600.0
CLOSE_S = 5.0

END = object()


class Dispatch:
    """All runs of one evaluation or compile that go to an executor, on one loop."""

    def __init__(self, executor: Any, name: str) -> None:
        self._executor = executor
        self.name = name
        self._patience: float | None = getattr(executor, "patience", PATIENCE_S)
        self._context = copy_context()
        # A plugin's work is no part of the request that brought it about.
        self._context.run(SCOPE.set, Scope(app=SCOPE.get().app))
        self._numbers = 0
        self._waiting: list[Attempt] = []
        self._drives: set[asyncio.Task[None]] = set()

    async def run(self, order: Order) -> RolloutRecord:
        """How the run ended, done or failed.

        Raises WorkerLost, ExecutorFailed, or BudgetExceeded by a budget or a deadline around it.
        """
        deadline = SCOPE.get().deadline
        return await (self._run(order) if deadline is None else deadline.bound(partial(self._run, order)))

    async def _run(self, order: Order) -> RolloutRecord:
        scopes = SCOPE.get().budgets + current_app().shared.ceilings()
        most = bound_for(order.bound, scopes)
        work = Work(order, SCOPE.get().trackers, self._number())
        lease = await lease_all(scopes, most)
        while True:
            record = await self._leased(work, scopes, lease)
            if record.state == "lost":
                self._check_lost(work)
                lease = await lease_all(scopes, most)
            elif record.fault is None or not record.fault.is_short:
                return record
            elif work.has_got_further():
                lease = await lease_all(scopes, most)
            else:
                lease = await larger(scopes, lease, error_of(record.fault))

    async def _leased(self, work: Work, scopes: Sequence[BudgetScope], lease: Charge) -> RolloutRecord:
        run = Attempt(work, self._number(), wall_of(scopes, lease))
        try:
            return await self._sent(run)
        finally:
            for scope in scopes:
                scope.settle(lease, run.spent)

    async def aclose(self) -> None:
        """End all that is under way."""
        for drive in self._drives:
            if not drive.cancelling():  # a second time would disturb it while it ends its own
                drive.cancel()
        if self._drives:
            await asyncio.wait(self._drives, timeout=CLOSE_S)
        if self._drives:
            warn(
                f"The executor {self.name!r} does not end what was cancelled: `run` has to let CancelledError through."
            )

    def _number(self) -> str:
        self._numbers += 1
        return str(self._numbers)

    def _check_lost(self, work: Work) -> None:
        if work.attempt >= ATTEMPTS:
            raise WorkerLost(
                f"{ATTEMPTS} workers of the executor {self.name!r} died before this example was done{work.last_words}. A program "
                "that crashes its process, or is killed for the memory it takes, does that."
            )
        work.attempt += 1

    # Giving out

    async def _sent(self, run: Attempt) -> RolloutRecord:
        if not self._waiting:
            # What is ready in this turn of the loop goes out together.
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(run)
        try:
            return await run.future
        finally:
            run.leave()

    def _flush(self) -> None:
        runs, self._waiting = [run for run in self._waiting if not run.future.done()], []
        if not runs:
            return
        drive = Drive({run.task.key: run for run in runs})
        drive.task = asyncio.get_running_loop().create_task(
            self._driven(drive, _chunks(runs)), context=self._context.copy()
        )
        for run in runs:
            run.drive = drive
        self._drives.add(drive.task)
        drive.task.add_done_callback(self._drives.discard)

    # Taking back

    async def _driven(self, drive: Drive, chunks: list[Chunk]) -> None:
        try:
            records = self._executor.run(chunks)
            if not hasattr(records, "__anext__"):
                getattr(records, "close", int)()  # a coroutine that nobody will await
                raise TypeError("`run` has to be an async generator")
            try:
                await self._taken(drive, records)
            finally:
                await self._closed(records)
        except BaseException as error:
            task = asyncio.current_task()
            is_ours = not isinstance(error, asyncio.CancelledError) or (task is not None and task.cancelling())
            if isinstance(error, PASSING) and is_ours:
                raise
            drive.fail(partial(self._failed, error))
        # What it has not spoken of, it has lost.
        for run in drive.left():
            run.end(RolloutRecord(run.task.key, "lost"))

    async def _taken(self, drive: Drive, records: Any) -> None:
        while drive.runs:
            limit = asyncio.timeout(self._patience)
            try:
                async with limit:
                    record = await anext(records, END)
            except TimeoutError:
                if not limit.expired():
                    raise
                raise ExecutorFailed(
                    f"The executor {self.name!r} has said nothing for {self._patience:g} s: is it stuck? One whose programs take "
                    "longer says so by its `patience`.",
                    plugin=self.name,
                ) from None
            if record is END:
                return
            drive.take(_checked(record))

    async def _closed(self, records: Any) -> None:
        if (close := getattr(records, "aclose", None)) is not None:
            async with asyncio.timeout(CLOSE_S):
                await close()

    def _failed(self, error: BaseException) -> ExecutorFailed:
        if isinstance(error, ExecutorFailed):
            made = ExecutorFailed(str(error), plugin=self.name)
        else:
            made = ExecutorFailed(
                f"The executor {self.name!r} failed: {type(error).__name__}: {error}. What was finished is kept.",
                plugin=self.name,
            )
        made.__cause__ = error
        return made


def executor_for(wanted: Any, asked: str) -> tuple[Any, str]:
    """The executor that was asked for, an object with `run` or a plugin's by name, and its name. Raises ConfigurationError."""
    if isinstance(wanted, str):
        return current_app().executor(wanted, f"{asked}={wanted!r}"), wanted
    if not callable(getattr(wanted, "run", None)) or isinstance(wanted, type):
        raise ConfigurationError(
            f"{asked}={wanted!r:.80}: an executor is a plugin's name, or an object with `run(chunks)`."
        )
    return wanted, type(wanted).__name__


def chunk_size(examples: int | None) -> int:
    """How many tasks go into one chunk at most: by the size of the data, and by nothing that timing has a part in."""
    return 1 if examples is None else max(1, min(16, examples // 64))


def _chunks(runs: Iterable[Attempt]) -> list[Chunk]:
    of_parcels: dict[int, list[Attempt]] = {}
    for run in runs:
        of_parcels.setdefault(id(run.work.order.parcel), []).append(run)
    made = []
    for some in of_parcels.values():
        of = some[0].work.order.parcel
        first = [run.task for run in some if run.task.attempt == 1]
        parts = [first[start : start + of.size] for start in range(0, len(first), of.size)]
        # One of these may be what workers die of, so it takes no other with it.
        parts += [[run.task] for run in some if run.task.attempt > 1]
        made += [Chunk(of.program, of.settings, tuple(part), of.trace) for part in parts]
    return made


def _checked(record: Any) -> ExecutorRecord:
    """A record whose parts have the types that they should have. Raises TypeError."""
    if not isinstance(record, CallRecord | RolloutRecord):
        raise TypeError(f"it gave {record!r:.80}, which is neither a CallRecord nor a RolloutRecord")
    try:
        data = msgspec.to_builtins(record, builtin_types=(bytes,))
        return msgspec.convert(data, ExecutorRecord)  # type: ignore[no-any-return]  # a union
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"it gave a {type(record).__name__} that is damaged: {error}") from error
