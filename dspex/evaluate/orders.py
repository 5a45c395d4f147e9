"""A run of a program that is wanted from an executor, its attempts, and those that one call of the executor has in hand."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from dspex.core.errors import ExecutorFailed
from dspex.core.usage import Budget, Usage
from dspex.plugin.executors import Artifact, CallRecord, ChunkSettings, ExecutorRecord, RolloutRecord, Task
from dspex.service.ledger import Charge

Hear = Callable[[CallRecord], None]


class Parcel(msgspec.Struct, frozen=True, eq=False):
    """What tasks of one chunk have in common, and how many go into one."""

    program: Artifact
    settings: ChunkSettings
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


class Work:
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


class Attempt:
    """One attempt."""

    def __init__(self, work: Work, key: str, lease: Budget | None) -> None:
        order = work.order
        known = tuple(work.known.values())
        self.work = work
        self.task = Task(key, work.owner, order.inputs, order.typed, known, lease, work.attempt)
        self.future: asyncio.Future[RolloutRecord] = asyncio.get_running_loop().create_future()
        self.drive: Drive | None = None
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


class Drive:
    """The runs of one call of the executor's `run`."""

    task: "asyncio.Task[None]"

    def __init__(self, runs: dict[str, Attempt]) -> None:
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

    def left(self) -> list[Attempt]:
        """The runs without an end, handed over."""
        runs, self.runs = list(self.runs.values()), {}
        return runs

    def fail(self, make: Callable[[], ExecutorFailed]) -> None:
        """All that is left has failed."""
        for run in self.left():
            run.fail(make())
