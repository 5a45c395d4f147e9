"""A compile that runs: watch it, pause it, cancel it, wait for it; what it has done survives it."""

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import suppress
from contextvars import copy_context
from typing import Any

import msgspec

from dspex.app.app import App, current_app, warn
from dspex.core.candidate import Candidate
from dspex.core.errors import EvaluationError, JournalError
from dspex.core.usage import Budget
from dspex.engine.artifact import Programs
from dspex.engine.context import Context, Setup
from dspex.engine.evidence import weighed
from dspex.engine.pool import Entry
from dspex.engine.recorder import Tape
from dspex.engine.scheduler import BRANCH, UNLIMITED, Spend, Stop
from dspex.evaluate.statistics import mean_interval
from dspex.program.module import Module
from dspex.runtime.journal import Journal
from dspex.runtime.records import End, Mark, Stopped
from dspex.runtime.scope import current, use
from dspex.service.ledger import BudgetScope

CANCEL_GRACE_S = 10.0
SECONDS_GRACE_S = 2.0
SYNC_EVERY_S = 1.0
WATCH_EVERY_S = 0.1


class Ledger(msgspec.Struct, frozen=True):
    """What a run has cost: `calls` is what its budget was charged, reused and cached ones included.

    `paid` calls left this process and `paid_before` earlier ones, retries included; `reused` ones were answered from the
    journal, `cached` ones by the LM's cache or by joining an equal call. `lost` ones left an earlier process that was
    killed before their reply was kept.
    """

    calls: int = 0
    tokens: int = 0
    usd: float = 0.0
    paid: int = 0
    paid_before: int = 0
    reused: int = 0
    cached: int = 0
    failed: int = 0
    lost: int = 0
    seconds: float = 0.0
    torn_bytes: int = 0
    run_dir: str = ""


class Progress(msgspec.Struct, frozen=True):
    """How far a job is: steps of the phase, the best candidate so far with its interval, what is spent, time left.

    `best`, `low` and `high` are mean scores in score points over `n` examples, None before the first one.
    """

    status: str
    phase: str = ""
    done: int = 0
    total: int | None = None
    best: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    spent: Ledger = Ledger()
    left: Budget | None = None
    eta: float | None = None


class CandidatePrograms(Sequence[dict[str, Any]]):
    """The pool under DSPy's keys, best first; a program is made when it is asked for.

    Not a list: a program that holds this must not count the programs in it as its own parts.
    """

    def __init__(self, programs: Programs, entries: Sequence[Entry]) -> None:
        self._programs = programs
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return CandidatePrograms(self._programs, self._entries[index])
        entry = self._entries[index]
        score = round(100 * entry.mean, 2) if entry.is_complete else None
        program = self._programs.fresh(entry.candidate)
        return {"score": score, "subscores": list(entry.scores), "program": program, "label": entry.label, **entry.meta}

    def __deepcopy__(self, _memo: object) -> "CandidatePrograms":
        return self


class Job:
    """A compile on its loop; its methods may be called from any thread, and awaited on any loop.

    `status` is queued, running, pausing, paused, stopping, done, failed or cancelled.
    """

    def __init__(self, setup: Setup, journal: Journal, budget: Budget | None, keep: str, notes: Sequence[str]) -> None:
        self.run_dir = journal.folder
        self._setup = setup
        self._journal = journal
        self._budget = budget
        self._keep = keep
        self._notes = list(notes)
        self._app: App = current_app()
        self._tape = Tape(journal, self._app.clock)
        marks = [record for record in journal.records if isinstance(record, Mark)]
        self._seconds_before = max((mark.value for mark in marks if mark.key == "elapsed"), default=0.0)
        self._walls = [mark.value for mark in marks if mark.key == "wall"]
        self._began: float | None = None
        self._state = "queued"
        self._is_aborted = False
        self._task: asyncio.Task[Module] | None = None
        self._outcome: concurrent.futures.Future[Module] = concurrent.futures.Future()
        self._limit = Spend.limit(budget or Budget())
        reserve = Spend((2 * len(setup.held) * setup.shape.calls_per_run, 0, 0))
        with use(budgets=(*current().budgets, *self._wall())):
            self._context = Context(setup, self._tape, self._limit - reserve)
            self._scope = copy_context()
        self._loop = self._launched()

    # Looking

    @property
    def status(self) -> str:
        """What it is doing."""
        if self._state == "pausing" and not self._context.scheduler.in_flight:
            return "paused"
        return self._state

    @property
    def ledger(self) -> Ledger:
        """What it has cost so far."""
        tape = self._tape
        spent = sum(list(self._context.spent.values()), Spend()).units
        return Ledger(
            calls=spent[0], tokens=spent[1], usd=spent[2] / 1e9, paid=tape.fresh.calls, paid_before=tape.before.calls,
            reused=tape.reused, cached=tape.cached, failed=tape.failed, lost=tape.lost, seconds=round(self._elapsed(), 3),
            torn_bytes=self._journal.torn_bytes, run_dir=str(self.run_dir),
        )  # fmt: skip

    @property
    def progress(self) -> Progress:
        """How far it is; cheap enough to ask for ten times a second."""
        context, ledger = self._context, self.ledger
        (phase, total), done = context.phase_now, context.done
        top = next(iter(context.pool.ranked([context.key_of(one) for one in context.val])), None)
        scores = [score for score in top.scores if score is not None] if top else []
        low, high = mean_interval(scores, context.derived("progress")) if scores else (None, None)
        eta = (self._elapsed() - self._seconds_before) / done * (total - done) if done and total else None
        mean = top.mean if top and scores else None
        return Progress(self.status, phase, done, total, mean, low, high, len(scores), ledger, self._left(ledger), eta)

    async def events(self) -> AsyncIterator[Progress]:
        """Its progress whenever that has changed, ten times a second at most, to its end."""
        last = None
        while last is None or not self._outcome.done():
            now = self.progress
            if now != last:
                yield now
            last = now
            await asyncio.sleep(WATCH_EVERY_S)
        yield self.progress

    # Steering

    def pause(self) -> None:
        """Start no further step; those that run come to their end."""
        self._told(lambda: self._hold(True))

    def resume(self) -> None:
        """Undo `pause`."""
        self._told(lambda: self._hold(False))

    def cancel(self, grace: float = CANCEL_GRACE_S) -> None:
        """End with the best program so far; steps that run have `grace` seconds to come to their end."""
        self._told(lambda: self._stop(Stop("cancelled"), grace))

    def abort(self) -> None:
        """End at once, without a result; the same call with this `run_dir` goes on."""
        self._told(self._abort)

    def result(self, timeout: float | None = None) -> Module:
        """The program, waited for; not for use on the job's own loop. Raises what ended the run, or TimeoutError."""
        return self._outcome.result(timeout)

    def __await__(self) -> Generator[Any, None, Module]:
        return self._waited().__await__()

    async def _waited(self) -> Module:
        outcome = asyncio.wrap_future(self._outcome)
        # A waiter that is cancelled does not end the job, and leaves nobody else to look at its error.
        outcome.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        await asyncio.wait([outcome])
        return outcome.result()

    def _abort(self) -> None:
        self._is_aborted = True
        if self._task is not None:
            self._task.cancel()

    def _told(self, act: Callable[[], object]) -> None:
        if not self._outcome.done():
            self._loop.call_soon_threadsafe(act)

    def _hold(self, paused: bool) -> None:
        self._state = "pausing" if paused else "running"
        self._context.scheduler.pause(paused)

    def _stop(self, reason: Stop, grace: float) -> None:
        self._state = "stopping"
        scheduler = self._context.scheduler
        scheduler.stop(reason)
        self._loop.call_later(grace, scheduler.cancel)

    # Running

    def _launched(self) -> asyncio.AbstractEventLoop:
        """Begin, on the running loop or else on the App's; there it is the App's supervised child."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = self._app.loop
        if loop is self._app.loop:
            self._app.supervise(f"job {self.run_dir}", self._supervised, restart="temporary")
        else:
            self._begin()
        return loop

    def _begin(self) -> "asyncio.Task[Module]":
        # In the caller's context, which on the App's loop is not the running one.
        self._task = asyncio.get_running_loop().create_task(self._run(), context=self._scope)
        self._task.add_done_callback(self._ended)
        if self._is_aborted:
            self._task.cancel()
        return self._task

    async def _supervised(self) -> None:
        task = self._begin()
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise

    def _ended(self, task: "asyncio.Task[Module]") -> None:
        self._seconds_before, self._began = self._elapsed(), None
        self._journal.close()
        if task.cancelled():
            self._state = "cancelled"
            self._outcome.set_exception(
                concurrent.futures.CancelledError(f"The run was ended; its folder is {self.run_dir}.")
            )
        elif (error := task.exception()) is not None:
            self._state = "failed"
            self._outcome.set_exception(error)
        else:
            self._outcome.set_result(task.result())

    def _wall(self) -> tuple[BudgetScope, ...]:
        """The hard wall around attempts, less what earlier processes have paid; calls lost in flight are outside."""
        if self._budget is None:
            return ()
        calls, tokens, usd = (Spend.limit(self._budget) - Spend.of(self._tape.before)).units
        left = [None if unit > UNLIMITED // 2 else max(0, unit) for unit in (calls, tokens, usd)]
        return (BudgetScope(Budget(left[0], left[1], None if left[2] is None else left[2] / 1e9), self._app.clock),)

    async def _run(self) -> Module:
        setup, context = self._setup, self._context
        BRANCH.set(context.scheduler.root)
        self._began, self._state = self._app.clock.monotonic(), "running"
        ticking = asyncio.get_running_loop().create_task(self._tick())
        try:
            self._watch_seconds()
            winner, why = await self._searched(context)
            self._journal.append(Stopped(why))
            evidence = await weighed(
                context, winner, stopped=why, keep=self._keep, limit=self._limit, notes=self._notes
            )
            kept = winner if evidence.kept else context.student
            self._compare(kept, why)
            self._journal.append(End(kept.key, msgspec.to_builtins(evidence)))
        finally:
            ticking.cancel()
            context.scheduler.cancel()
            await context.scheduler.drained()
            await asyncio.gather(ticking, return_exceptions=True)
        program: Any = setup.programs.fresh(kept)
        entries = context.pool.ranked([context.key_of(one) for one in context.val])
        program._compiled, program.evidence, program.ledger = True, evidence, self.ledger
        program.candidate_programs = CandidatePrograms(setup.programs, entries)
        self._state = "cancelled" if why == "cancelled" else "done"
        return program  # type: ignore[no-any-return]  # a Module with what a compile adds

    def _compare(self, kept: Candidate, why: str) -> None:
        """Say so if a run that had ended before ends otherwise now, which nothing but its algorithm can be the cause of."""
        records = self._journal.records
        whys = [record.why for record in records if isinstance(record, Stopped)]
        ends = [record.winner for record in records if isinstance(record, End)]
        if ends and whys[-1] == why == "done" and ends[-1] != kept.key:
            name = type(self._setup.optimizer).__name__
            warn(
                f"{name} is not deterministic: its run in {self.run_dir} gave another program before. This is the new one."
            )

    async def _searched(self, context: Context) -> tuple[Candidate, str]:
        """What the algorithm found, or the best so far where it was stopped."""
        try:
            return await self._setup.optimizer.run(context), "done"
        except Stop as stop:
            await context.scheduler.drained()
            best = self._best(context)
            return (best or context.student), stop.reason
        except Exception as error:
            best = self._best(context)
            if isinstance(error, EvaluationError):
                error.best = self._setup.programs.fresh(best) if best else None
            error.add_note(f"Run folder: {self.run_dir}. The same call with this run_dir repeats no finished call.")
            with suppress(JournalError):
                self._journal.append(Stopped("error", f"{type(error).__name__}: {error}"[:1_000]))
            raise

    @staticmethod
    def _best(context: Context) -> Candidate | None:
        entry = context.pool.best([context.key_of(one) for one in context.val])
        return entry.candidate if entry else None

    async def _tick(self) -> None:
        """Once a second at most: note the running time and make the journal safe from a power cut, off the loop."""
        while True:
            await self._app.clock.sleep(SYNC_EVERY_S)
            if self._journal.is_dirty:
                self._journal.append(Mark("elapsed", round(self._elapsed(), 3)))
                await asyncio.to_thread(self._journal.sync)

    def _watch_seconds(self) -> None:
        seconds = self._budget.seconds if self._budget else None
        if seconds is None:
            return
        if any(wall >= seconds for wall in self._walls):
            self._context.scheduler.stop(Stop("budget", "seconds"))  # a replay ends where the run did
        else:
            self._loop.call_later(max(0.0, seconds - self._seconds_before), self._out_of_time, seconds)

    def _out_of_time(self, seconds: float) -> None:
        if self._context.scheduler.stopped is None and not self._outcome.done():
            self._journal.append(Mark("wall", seconds))
            self._stop(Stop("budget", "seconds"), SECONDS_GRACE_S)

    def _elapsed(self) -> float:
        return self._seconds_before + (self._app.clock.monotonic() - self._began if self._began is not None else 0.0)

    def _left(self, ledger: Ledger) -> Budget | None:
        if self._budget is None:
            return None
        limits: dict[str, Any] = {unit: getattr(self._budget, unit) for unit in ("calls", "tokens", "usd", "seconds")}
        for unit, limit in limits.items():
            limits[unit] = None if limit is None else max(0, limit - getattr(ledger, unit))
        return Budget(**limits)
