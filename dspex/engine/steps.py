"""The steps of a run: what is known of them, what they cost, and how one that is not known is made."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from dspex.app.accounting import is_wall
from dspex.app.app import App
from dspex.core.candidate import Rollout
from dspex.core.errors import (
    AuthError,
    BudgetExceeded,
    CircuitOpen,
    EvaluationError,
    JournalError,
    LMTimeout,
    PluginError,
    RateLimited,
    Unavailable,
)
from dspex.core.events import Progressed, StepFinished
from dspex.core.usage import Usage
from dspex.engine.away import Away
from dspex.engine.pool import Pool
from dspex.engine.recorder import StepRecorder, Tape
from dspex.engine.scheduler import BRANCH, Branch, Scheduler, Stop, Work
from dspex.engine.spend import UNLIMITED, Spend
from dspex.runtime.records import Run, Step
from dspex.runtime.scope import SCOPE
from dspex.service.ledger import DEFAULT_OUTPUT_TOKENS, Charge

OUTAGE = (AuthError, CircuitOpen, LMTimeout, PluginError, RateLimited, Unavailable)
OUTAGE_LIMIT = 10  # steps that fail so one after another end a run: their zeros would say nothing about a candidate
TELL_EVERY_S = 0.1


class Asked(msgspec.Struct, frozen=True):
    """What a model answered to an `ask`: the outputs of each completion, or the error of all."""

    outputs: tuple[dict[str, Any], ...] = ()
    ok: bool = True
    error: str = ""
    usage: Usage = Usage()


class Computed(msgspec.Struct, frozen=True):
    """What a `compute` gave."""

    value: Any
    usage: Usage = Usage()


class Trained(msgspec.Struct, frozen=True):
    """What came of a training: the provider's name of the model, and of the job."""

    model: str = ""
    job: str = ""
    ok: bool = True
    error: str = ""
    usage: Usage = Usage()


class Failed(msgspec.Struct, frozen=True):
    """An optimizer inside another has failed; a run that ended by an error forgets it, as any failure."""

    error: str
    ok: bool = False


Value = Rollout | Asked | Computed | Trained


class StepWork(Work):
    """A step of one kind; equal `key`s share their calls, equal `step`s their result."""

    kind: ClassVar[str]
    type: ClassVar[type[Value]]
    __slots__ = ("role", "step")

    def __init__(self, key: str, bound: Spend, step: str, role: str) -> None:
        super().__init__(key, bound)
        self.step = step
        self.role = role

    async def make(self, recorder: StepRecorder) -> Value:
        """Its result; a failure that is one is a value too."""
        raise NotImplementedError

    def failed(self, error: BaseException, usage: Usage) -> Value | None:
        """What stands for its result after this error; None if it ends the run."""
        return None

    def settled(self, value: Any) -> None:
        """The result is taken into account, for each that asks for it."""

    def ended(self, value: Any, fault: BaseException | None) -> None:
        """It was made just now. Raises EvaluationError to end a run that nothing can come of."""


class Steps:
    """All steps of one run, for its context and those of optimizers inside it.

    `done` counts those of the phase; `touched` are the keys of the examples that a step saw, `held` of those that none may.
    `notes` are said in the evidence, `attached` are attributes of the program that is returned.
    """

    def __init__(self, tape: Tape, limit: Spend, concurrency: int, calls_per_run: int, app: App) -> None:
        self.tape = tape
        self.pool = Pool()
        self.spent: dict[str, Spend] = {}
        self.touched: set[str] = set()
        self.held: frozenset[str] = frozenset()
        self.notes: list[str] = []
        self.questions: Counter[str] = Counter()  # by role
        self.unanswered: dict[str, list[str]] = {}  # their errors
        self.attached: dict[str, Any] = {}
        self.phase: tuple[str, int | None] = ("", None)
        self.done = 0
        self.outage = self.failures = 0
        self.metric = ""  # the identity of that which the pool is scored by
        self.away: Away | None = None  # where evaluations are run, if not here
        self.limit = limit
        self._concurrency = concurrency
        self._calls_per_run = calls_per_run
        self._app = app
        self._known: dict[str, Any] = tape.steps
        self._told_at = 0.0
        self.run_id = next((record.id for record in tape.journal.records if isinstance(record, Run)), "")
        self.scheduler = self._scheduler(limit)

    def _scheduler(self, limit: Spend) -> Scheduler:
        return Scheduler(limit, self._concurrency, self._recall, self._execute)

    def told(self) -> list[str]:
        """The notes, and which questions had no answer: a search that goes on without is none that tried."""
        return self.notes + [
            f"{len(errors)} of {self.questions[role]} questions of the role {role!r} had no answer, as {min(errors):.200}"
            for role, errors in sorted(self.unanswered.items())
        ]

    def reopen(self, limit: Spend) -> None:
        """The algorithm has ended: steps may run again, within what is left of the budget."""
        self.scheduler = self._scheduler(limit)
        BRANCH.set(self.scheduler.root)

    async def wave(self, works: Sequence[StepWork]) -> list[Any]:
        """Results of these steps, in their order."""
        return await self.scheduler.wave(works)

    def bound(self, branch: Branch, call: Charge | None, least: int = 0) -> Spend:
        """What one step may take at most: two calls a predictor, or more than the most that was seen in this branch.

        `call` is the most that one of its calls may take, for as long as this branch has seen none.
        """
        seen = branch.seen
        most = max(2 * self._calls_per_run, seen.calls + 1, least)
        tokens = seen.tokens + seen.tokens // 2 or most * (call.tokens if call is not None else DEFAULT_OUTPUT_TOKENS)
        nanos = seen.nanos + seen.nanos // 2 or (most * round(call.usd * 1e9) if call is not None else 0)
        return Spend(most, tokens if self.limit.tokens < UNLIMITED else 0, nanos)

    def count_failure(self, error: BaseException) -> None:
        """A step failed."""
        self.failures += 1
        self.outage = self.outage + 1 if isinstance(error, OUTAGE) else 0

    def check_outage(self, is_ok: bool, error: str | None) -> None:
        """Raises EvaluationError when enough steps found no model, one after another."""
        if is_ok:
            self.outage = 0
        elif self.is_out:
            raise EvaluationError(f"{self.outage} steps one after another found no model: {error}")

    @property
    def limits_usd(self) -> bool:
        """Whether the budget has dollars."""
        return self.limit.nanos < UNLIMITED // 2

    @property
    def is_out(self) -> bool:
        """Whether there is no model to go on with; a later process may find one."""
        return self.outage >= OUTAGE_LIMIT

    def failure_of(self, step: str) -> str | None:
        """What ended a nested compile in an earlier process."""
        found = self._known.get(step)
        return msgspec.json.decode(found.value, type=Failed).error if isinstance(found, Step) else None

    async def fenced(self, step: str, text: str) -> None:
        """A nested compile has failed: let other steps run again, and a replay see the same."""
        if await self.scheduler.recovered(BRANCH.get()):
            self.outage = self.failures = 0
        if step not in self._known:
            self._known[step] = Step(step, "compile", msgspec.Raw(encoder.encode(Failed(text))))
            self.tape.journal.append(self._known[step])

    def _recall(self, work: StepWork, is_charged: bool) -> tuple[Value, Spend] | None:
        """The result of a finished step. Whoever asks settles it, so what it stands for is counted here."""
        found = self._known.get(work.step)
        if found is None:
            return None
        is_old = isinstance(found, Step)
        if is_old:
            found = self._known[work.step] = msgspec.json.decode(found.value, type=work.type)
            self.tape.reuse(work.key)
        value: Value = found
        self.done += work.kind != "compute"  # what runs here is no part of what a phase waits for
        spend = Spend.of(value.usage)
        if is_charged:
            self.spent[work.role] = self.spent[work.role] + spend if work.role in self.spent else spend
        work.settled(value)
        if self._app.bus.active:
            self._tell(work, is_old)
        return value, spend

    def _tell(self, work: StepWork, is_old: bool) -> None:
        clock, publish = self._app.clock, self._app.bus.publish
        publish(StepFinished(clock.now(), 0, self.run_id, work.step, work.kind, is_old))
        name, total = self.phase
        if clock.monotonic() - self._told_at >= TELL_EVERY_S or self.done == total:
            self._told_at = clock.monotonic()
            publish(Progressed(clock.now(), 0, self.run_id, name, self.done, total))

    async def _execute(self, work: StepWork) -> None:
        recorder = StepRecorder(self.tape, work.key)
        fault: BaseException | None = None
        try:
            value = await work.make(recorder)
            body = encoder.encode(value)
        except (JournalError, Stop):
            raise
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001  raised again where it is no value
            value, fault = _instead(work, recorder, error), error
            body = encoder.encode(value)
        if recorder.failure is not None:
            raise _end_by(recorder.failure)
        self.tape.journal.append(Step(work.step, work.kind, msgspec.Raw(body)))
        # What a replay will see, and not what was in memory.
        self._known[work.step] = msgspec.json.decode(body, type=work.type)
        work.ended(value, fault)


def _end_by(failure: BaseException) -> BaseException:
    """What ends the run where a call met that."""
    return Stop("budget", str(failure)) if isinstance(failure, BudgetExceeded) else failure


def _instead(work: StepWork, recorder: StepRecorder, error: BaseException) -> Value:
    """What stands for the result of a step that raised. Raises what must end the run."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error
    if recorder.failure is not None:
        raise _end_by(recorder.failure)
    if isinstance(error, BudgetExceeded) and is_wall(error, SCOPE.get()):  # met outside a recorded call
        raise Stop("budget", str(error)) from error
    value = work.failed(error, recorder.usage)
    if value is not None:
        return value
    if isinstance(error, Exception):
        raise error
    raise EvaluationError(f"A step of kind {work.kind} raised {error!r}.") from error


def key(*parts: str) -> str:
    """The key of a step made of these keys and texts."""
    return hashlib.blake2b("/".join(parts).encode(), digest_size=16).hexdigest()


def _json(value: Any) -> Any:
    dump = getattr(value, "toDict", None) or getattr(value, "model_dump", None)
    return dump() if dump is not None else str(value)


encoder = msgspec.json.Encoder(enc_hook=_json)
