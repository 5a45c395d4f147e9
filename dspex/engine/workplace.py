"""Workplace: what a worker does with a chunk; the other end of what an evaluation sends to its executor."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

import msgspec

from dspex.app.accounting import is_wall
from dspex.app.app import App
from dspex.core.candidate import TraceStep
from dspex.core.clock import Clock
from dspex.core.errors import BudgetExceeded, DspexError
from dspex.core.example import Example
from dspex.core.identity import digest
from dspex.core.usage import Budget, Usage
from dspex.engine.evaluation import broken_off, kept_steps
from dspex.engine.recorder import StepRecorder
from dspex.engine.steps import encoder
from dspex.evaluate.faults import fault_of
from dspex.evaluate.parcels import overlay_of, packed, program_of_artifact, unpacked
from dspex.plugin.executors import Artifact, CallRecord, Chunk, ChunkSettings, ExecutorRecord, RolloutRecord, Task
from dspex.program.module import Module
from dspex.runtime.records import Call, Sent
from dspex.runtime.scope import SCOPE, Scope
from dspex.runtime.worker_threads import WORK
from dspex.service.ledger import BudgetScope

KEPT = 64  # programs, and settings, that are made once

T = TypeVar("T")
Tell = Callable[[ExecutorRecord], None]
Made = tuple[Module, dict[int, str]]


class Workplace:
    """Works chunks, for one process of an executor; has Apps of its own, which find their keys here.

    Use it on one loop. `aclose` ends what it has begun.
    """

    def __init__(self) -> None:
        self._apps: dict[str, App] = {}
        self._programs: OrderedDict[str, Made | DspexError] = OrderedDict()
        self._overlays: OrderedDict[str, dict[str, Any]] = OrderedDict()

    async def run(self, chunk: Chunk) -> AsyncGenerator[ExecutorRecord, None]:
        """What becomes of a chunk's tasks, which run side by side; errors are told as data. Closed early, it ends them."""
        told: asyncio.Queue[ExecutorRecord] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(record: ExecutorRecord) -> None:  # from any thread, in order
            loop.call_soon_threadsafe(told.put_nowait, record)

        try:
            around, program, paths = self._prepared(chunk)
        except (Exception, SystemExit) as error:  # noqa: BLE001  what a program's module does when it is imported
            fault = fault_of(error)
            for task in chunk.tasks:
                yield RolloutRecord(task.key, "failed", fault=fault)
            return

        async def work(task: Task) -> None:
            run = _Run(task, around, tell, [] if chunk.trace else None)
            tell(await run.made(program, paths))

        running = [loop.create_task(work(task)) for task in chunk.tasks]
        left = len(running)
        try:
            while left:
                record = await told.get()
                left -= isinstance(record, RolloutRecord)
                yield record
        finally:
            for one in running:
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    @property
    def is_haunted(self) -> bool:
        """Whether a function of a program runs in a thread: no thread can be stopped, so a process that has nothing else to do
        and is haunted should end.
        """
        return any(thread.name.startswith(WORK) for thread in threading.enumerate())

    async def aclose(self) -> None:
        """Let go of all that its Apps have opened."""
        apps, self._apps = list(self._apps.values()), {}
        for app in apps:
            await asyncio.to_thread(app.close, 0.0)

    def _prepared(self, chunk: Chunk) -> tuple[Scope, Module, dict[int, str]]:
        around = Scope(app=self._app(chunk.settings), overlay=self._overlay(chunk.settings), patient=True)
        return around, *self._program(chunk.program)

    def _app(self, settings: ChunkSettings) -> App:
        key = digest(settings.app)
        if key not in self._apps:
            self._apps[key] = App(**settings.app)
        return self._apps[key]

    def _overlay(self, settings: ChunkSettings) -> dict[str, Any]:
        key = digest(settings)
        if key not in self._overlays:
            self._overlays[key] = overlay_of(settings)
        return last_used(self._overlays, key)

    def _program(self, artifact: Artifact) -> Made:
        if artifact.key not in self._programs:
            try:
                program = program_of_artifact(artifact)
                made = (program, {id(part): path for path, part in program.named_predictors()})
                self._programs[artifact.key] = made
            except DspexError as error:
                self._programs[artifact.key] = error
        found = last_used(self._programs, artifact.key)
        if isinstance(found, DspexError):
            raise found.with_traceback(None)
        return found


class _Run:
    """One task, in a scope of its own."""

    def __init__(self, task: Task, around: Scope, tell: Tell, trace: list[Any] | None) -> None:
        self._task = task
        self._paid = paid = _Paid(task)
        self._trace = trace
        self._weighed: dict[int, Any] = {}
        self._lease = None if task.lease is None else BudgetScope(task.lease, around.app.clock)
        self._recorder = StepRecorder(_Told(task, paid, tell, around.app.clock), task.owner)
        self._scope = around.child(
            budgets=() if self._lease is None else (self._lease,),
            trackers=(paid,),
            trace=trace,
            recorder=self._recorder,
            request=object(),
            weighed=self._weighed,
        )
        # Set and not reset: a task of the loop has a context of its own.
        SCOPE.set(self._scope)

    async def made(self, program: Module, paths: dict[int, str]) -> RolloutRecord:
        """The rollout; what the program raises is data."""
        try:
            inputs = unpacked(self._task.inputs, self._task.typed, program)
            prediction = await program.acall(**inputs)
            self._check_lease()
            values = prediction._store if isinstance(prediction, Example) else {"": prediction}
            outputs, typed = packed(values, program)
            trace = None if self._trace is None else _data(kept_steps(self._trace, paths, self._weighed))
            return self._record("done", outputs=outputs, typed=typed, trace=trace)
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            current = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and current is not None and current.cancelling():
                raise
            trace = None
            if self._trace is not None:
                trace = _data(broken_off(self._trace, program, paths, self._task.inputs, error))
            return self._record("failed", trace=trace, fault=fault_of(error, is_short=self._is_short(error)))

    def _record(self, state: Any, **more: Any) -> RolloutRecord:
        spent = None
        if self._lease is not None:
            told = self._lease.spent
            spent = Budget(told.calls, told.tokens, told.usd)
        paid = self._paid.take()
        return RolloutRecord(self._task.key, state, usage=self._recorder.usage, spent=spent, paid=paid, **more)

    def _check_lease(self) -> None:
        """A program may have swallowed it, and gone another way than it would where there is more to spend."""
        failure = self._recorder.failure
        if failure is not None and self._is_short(failure):
            raise failure

    def _is_short(self, error: BaseException) -> bool:
        return self._lease is not None and isinstance(error, BudgetExceeded) and is_wall(error, self._scope)


class _Told:
    """A tape that is told of, record by record; its calls are those that the task came with."""

    def __init__(self, task: Task, paid: "_Paid", tell: Tell, clock: Clock) -> None:
        self.clock = clock
        self.done = {one.key: _call(one, task.owner) for one in task.known}
        self._task = task.key
        self._paid = paid
        self._tell = tell

    @property
    def journal(self) -> "_Told":
        return self

    def append(self, record: Sent) -> None:
        self._tell(CallRecord(self._task, record.key, paid=self._paid.take()))

    def begun(self, key: str, call: Any) -> None:
        """It was told by `append`."""

    def over(self, key: str) -> None:
        """It is told by `ended`."""

    def reuse(self, owner: str) -> None:
        """The coordinator counts."""

    def ended(self, call: Call) -> None:
        self._tell(
            CallRecord(
                self._task, call.key, True, call.reply, call.data, call.usage, call.seconds, call.attempts,
                call.is_cached, call.error, self._paid.take(),
            )
        )  # fmt: skip


class _Paid:
    """What was paid and not yet told, by model; from any thread. A known call is counted where it was made."""

    def __init__(self, task: Task) -> None:
        self._known = {id(one.reply.usage) for one in task.known if one.reply is not None}
        self._by_model: dict[str, Usage] = {}
        self._lock = threading.Lock()

    def add(self, model: str, usage: Usage) -> None:
        if id(usage) in self._known:
            return
        with self._lock:
            counted = msgspec.structs.replace(usage, calls=max(1, usage.calls))
            self._by_model[model] = self._by_model[model] + counted if model in self._by_model else counted

    def take(self) -> dict[str, Usage]:
        with self._lock:
            paid, self._by_model = self._by_model, {}
        return paid


def _call(record: CallRecord, owner: str) -> Call:
    return Call(
        record.key, owner, record.reply, record.seconds, record.attempts, record.is_cached, record.error, record.data,
        record.usage,
    )  # fmt: skip


def _data(steps: tuple[TraceStep, ...]) -> tuple[TraceStep, ...]:
    """As a journal would keep them."""
    return msgspec.json.decode(encoder.encode(steps), type=tuple[TraceStep, ...])


def last_used(of: "OrderedDict[str, T]", key: str) -> T:
    """The value; it is kept for longest now, and the oldest one may go."""
    of.move_to_end(key)
    if len(of) > KEPT:
        of.popitem(last=False)
    return of[key]
