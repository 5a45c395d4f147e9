"""Runs of programs that an executor makes: given out in chunks, taken back in any order, given out again where a worker died.

Whatever an executor does, each run ends: by its rollout, by an error of its own, or by ExecutorFailed, which ends them all.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any

import msgspec

from dspex.app.app import current_app
from dspex.core.errors import BudgetExceeded, ConfigurationError, ExecutorFailed, WorkerLost
from dspex.core.guests import PASSING
from dspex.core.usage import Budget, Usage
from dspex.core.warn import warn
from dspex.evaluate.faults import error_of
from dspex.plugin.executors import Artifact, CallRecord, Chunk, ExecutorRecord, RolloutRecord, Settings, Task
from dspex.runtime.scope import SCOPE, Scope
from dspex.service.ledger import BudgetScope, Charge, lease_all, reserve_all

ATTEMPTS = 3  # workers that may die of one task
PATIENCE_S = 600.0
CLOSE_S = 5.0
TOKENS_OF_A_CALL = 8_192
SHARES = 64  # into which a budget is parted where nothing else says what a run may take

END = object()

Hear = Callable[[CallRecord], None]


class Parcel(msgspec.Struct, frozen=True, eq=False):
    """What tasks of one chunk have in common, and how many go into one."""

    program: Artifact
    settings: Settings
    trace: bool
    size: int


class Order(msgspec.Struct, frozen=True):
    """One run that is wanted; `hear` is told of each of its calls once as it leaves and once as it ends."""

    parcel: Parcel
    inputs: dict[str, Any]
    typed: dict[str, str]
    owner: str = ""
    known: tuple[CallRecord, ...] = ()
    bound: Charge = Charge()
    hear: Hear | None = None


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
        self._waiting: list[_Run] = []
        self._drives: set[asyncio.Task[None]] = set()

    async def run(self, order: Order) -> RolloutRecord:
        """How the run ended, done or failed.

        Raises WorkerLost, ExecutorFailed, or BudgetExceeded by a budget or a deadline around it.
        """
        deadline = SCOPE.get().deadline
        return await (self._run(order) if deadline is None else deadline.bound(partial(self._run, order)))

    async def _run(self, order: Order) -> RolloutRecord:
        scopes = SCOPE.get().budgets + current_app().shared.ceilings()
        most = _bound(order, scopes)
        work = _Work(order, SCOPE.get().trackers, self._number())
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
                lease = await _more(scopes, lease, error_of(record.fault))

    async def _leased(self, work: "_Work", scopes: Sequence[BudgetScope], lease: Charge) -> RolloutRecord:
        run = _Run(work, self._number(), _wall(scopes, lease))
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

    def _check_lost(self, work: "_Work") -> None:
        if work.attempt >= ATTEMPTS:
            raise WorkerLost(
                f"{ATTEMPTS} workers of the executor {self.name!r} died before this example was done{work.last_words}. A program "
                "that crashes its process, or is killed for the memory it takes, does that."
            )
        work.attempt += 1

    # Giving out

    async def _sent(self, run: "_Run") -> RolloutRecord:
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
        drive = _Drive({run.task.key: run for run in runs})
        drive.task = asyncio.get_running_loop().create_task(
            self._driven(drive, _chunks(runs)), context=self._context.copy()
        )
        for run in runs:
            run.drive = drive
        self._drives.add(drive.task)
        drive.task.add_done_callback(self._drives.discard)

    # Taking back

    async def _driven(self, drive: "_Drive", chunks: list[Chunk]) -> None:
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

    async def _taken(self, drive: "_Drive", records: Any) -> None:
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


class _Work:
    """One order over all its attempts."""

    def __init__(self, order: Order, trackers: Sequence[Any], number: str) -> None:
        self.order = order
        self.owner = order.owner or number
        self.trackers = trackers
        self.known = {record.key: record for record in order.known}
        self.attempt = 1
        self.last_words = ""
        self._had = len(self.known)

    def has_got_further(self) -> bool:
        """Whether a call was finished since this was asked last."""
        before, self._had = self._had, len(self.known)
        return self._had > before


class _Run:
    """One attempt."""

    def __init__(self, work: _Work, key: str, lease: Budget | None) -> None:
        order = work.order
        known = tuple(work.known.values())
        self.work = work
        self.task = Task(key, work.owner, order.inputs, order.typed, known, lease, work.attempt)
        self.future: asyncio.Future[RolloutRecord] = asyncio.get_running_loop().create_future()
        self.drive: _Drive | None = None
        self._open: set[str] = set()
        self._heard = set(work.known)
        self._paid = Usage()
        self._attempts = 0
        self._spent: Budget | None = None

    @property
    def spent(self) -> Charge:
        """What it took, as the worker says; of a worker that died, at least what is known."""
        told = self._spent
        if told is not None:
            return Charge(told.calls or 0, told.tokens or 0, told.usd or 0.0)
        return Charge(self._attempts + len(self._open), self._paid.total_tokens, self._paid.usd or 0.0)

    def hear(self, record: CallRecord) -> None:
        """One of its calls leaves, or has ended; said twice it counts once."""
        if record.key in self._heard or (not record.is_done and record.key in self._open):
            return
        self._pay(record.paid)
        if record.is_done:
            self._open.discard(record.key)
            self._heard.add(record.key)
            self._attempts += 0 if record.is_cached else record.attempts
            if not record.error:
                self.work.known[record.key] = record
        else:
            self._open.add(record.key)
        if self.work.order.hear is not None:
            try:
                self.work.order.hear(record)
            except Exception as error:  # noqa: BLE001  the journal's; it belongs to whoever waits
                self.fail(error)

    def end(self, record: RolloutRecord) -> None:
        """Its rollout, once."""
        self._pay(record.paid)
        self._spent = record.spent
        if record.state == "lost" and record.fault is not None:
            self.work.last_words = f" ({record.fault.message})"
        if not self.future.done():
            self.future.set_result(record)

    def fail(self, error: BaseException) -> None:
        """It has no rollout."""
        if not self.future.done():
            self.future.set_exception(error)

    def leave(self) -> None:
        """Nobody waits for it any more."""
        if self.drive is not None:
            self.drive.drop(self.task.key)

    def _pay(self, paid: Mapping[str, Usage]) -> None:
        for model, usage in paid.items():
            self._paid += usage
            for tracker in self.work.trackers:
                tracker.add(model, usage)


class _Drive:
    """The runs of one call of the executor's `run`."""

    task: "asyncio.Task[None]"

    def __init__(self, runs: dict[str, _Run]) -> None:
        self.runs = runs
        self._were = frozenset(runs)

    def take(self, record: ExecutorRecord) -> None:
        """Give a record to its run. Raises TypeError for one of a task that was not given here."""
        run = self.runs.get(record.task)
        if run is None:
            if record.task not in self._were:
                raise TypeError(f"it gave a record of a task that it was not given, {record.task!r:.80}")
            return  # said twice, or nobody waits for it
        if isinstance(record, CallRecord):
            run.hear(record)
            return
        del self.runs[record.task]
        run.end(record)

    def drop(self, key: str) -> None:
        """Nobody waits for that run; where none is left, what is under way ends."""
        if self.runs.pop(key, None) is not None and not self.runs:
            self.task.cancel()

    def left(self) -> list[_Run]:
        """The runs without an end, handed over."""
        runs, self.runs = list(self.runs.values()), {}
        return runs

    def fail(self, make: Callable[[], ExecutorFailed]) -> None:
        """All that is left has failed."""
        for run in self.left():
            run.fail(make())


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


def _chunks(runs: Iterable[_Run]) -> list[Chunk]:
    of_parcels: dict[int, list[_Run]] = {}
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


# Budgets


def _bound(order: Order, scopes: Sequence[BudgetScope]) -> Charge:
    """The most that a run takes at first: what its order says, else a few calls and a small share of the budget."""
    calls, tokens, usd = max(1, order.bound.calls), order.bound.tokens, order.bound.usd
    shares = [scope.limits.usd / SHARES for scope in scopes if scope.limits.usd is not None]
    return Charge(calls, tokens or calls * TOKENS_OF_A_CALL, usd or min(shares, default=0.0))


def _wall(scopes: Sequence[BudgetScope], lease: Charge) -> Budget | None:
    """The lease, in the units that are bounded at all."""
    if not scopes:
        return None
    limits = [scope.limits for scope in scopes]
    seconds = [left for scope in scopes if (left := scope.left.seconds) is not None]
    return Budget(
        lease.calls if any(one.calls is not None for one in limits) else None,
        lease.tokens if any(one.tokens is not None for one in limits) else None,
        lease.usd if any(one.usd is not None for one in limits) else None,
        min(seconds, default=None),
    )


async def _more(scopes: Sequence[BudgetScope], lease: Charge, short: Exception) -> Charge:
    """A larger lease than the one that was too short for a single call. Raises BudgetExceeded where there is no more."""
    twice = lease + lease
    try:
        await reserve_all(scopes, twice)
    except BudgetExceeded as wall:
        rest = await lease_all(scopes, twice)
        unit = getattr(short, "unit", "") or wall.unit
        if unit != "seconds" and getattr(rest, unit, 0) > getattr(lease, unit, 0):
            return rest
        for scope in scopes:
            scope.settle(rest, Charge())
        raise
    return twice
