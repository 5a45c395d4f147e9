"""A compile that runs: watch it, pause it, cancel it, wait for it; what it has done survives it."""

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import suppress
from contextvars import Context as Variables
from contextvars import copy_context
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from dspex.app.app import App, current_app, default_app
from dspex.core.candidate import Candidate
from dspex.core.errors import DspexError, JournalError
from dspex.core.events import ChildRestarted
from dspex.core.evidence import Arm, Evidence
from dspex.core.usage import Budget
from dspex.core.warn import warn
from dspex.engine import report
from dspex.engine.attached import CONTROL, AttachedJob
from dspex.engine.away import Away
from dspex.engine.context import Context
from dspex.engine.controls import control_arms
from dspex.engine.evidence import weighed
from dspex.engine.objective import chosen, complete, frontier
from dspex.engine.options import Options
from dspex.engine.outcome import searched, tell_of_another_end
from dspex.engine.progress import Ledger, Progress
from dspex.engine.quote import Quote
from dspex.engine.recorder import Tape
from dspex.engine.results import CandidatePrograms
from dspex.engine.scheduler import BRANCH, Stop
from dspex.engine.setup import Setup
from dspex.engine.spend import Spend
from dspex.engine.steps import Steps
from dspex.evaluate.dispatch import Dispatch
from dspex.evaluate.statistics import running_interval
from dspex.program.module import Module
from dspex.runtime.journal import Journal
from dspex.runtime.records import Beat, End, Mark, Stopped
from dspex.runtime.scope import SCOPE, current
from dspex.service.ledger import BudgetScope, Charge

CANCEL_GRACE_S = 10.0
SECONDS_GRACE_S = 2.0
SYNC_EVERY_S = 1.0
OBEY_EVERY_S = 0.2
WATCH_EVERY_S = 0.1
RESTARTS, RESTART_PERIOD_S = 3, 60.0


class Job:
    """A compile on its loop; its methods may be called from any thread, and awaited on any loop.

    `status` is queued, running, parked (all calls wait for batches), pausing, paused, stopping, done, failed or cancelled; `quote` is what it may cost at most.
    An algorithm that crashes is begun again and replayed, up to 3 times a minute and as long as it gets further; an error of
    dspex (DspexError) is no crash.
    """

    def __init__(self, setup: Setup, journal: Journal, options: Options, quote: Quote, notes: Sequence[str]) -> None:
        self.run_dir = journal.folder
        self.quote = quote
        self.restarts = 0
        self._setup = setup
        self._options = options
        self._budget = options.budget
        self._notes = list(notes)
        self._app: App = current_app()
        self._caller = current()
        self._limit = Spend.limit(options.budget or Budget())
        self._began: float | None = None
        self._state = "queued"
        self._beaten = ""
        self._has_ended = False
        self._is_aborted = False
        self._crashes: deque[float] = deque()
        self._task: asyncio.Task[Module] | None = None
        self._outcome: concurrent.futures.Future[Module] = concurrent.futures.Future()
        self._prepare(journal)
        self._loop = self._launched()

    @staticmethod
    def open(run_dir: str | Path) -> AttachedJob:
        """The job of a run folder, whichever process runs it. Raises JournalError if there is none."""
        return AttachedJob(run_dir)

    def _prepare(self, journal: Journal) -> None:
        """All that a life of the run begins with, from what its journal holds."""
        self._journal, self._has_ended = journal, False
        default_app.tell_of_forks(journal)
        (journal.folder / CONTROL).unlink(missing_ok=True)  # it was for an owner that is gone
        journal.keep(report.READ)
        self._tape = Tape(journal, self._app.clock)
        self._known_before = len(self._tape.steps)
        self._seconds_before = max((r.seconds for r in journal.records if isinstance(r, Beat)), default=0.0)
        self._walls = [r.value for r in journal.records if isinstance(r, Mark) and r.key == "wall"]
        reserve = self._reserve()
        # A turn of its own where calls queue, however many jobs one block starts.
        scope = self._caller.child(
            budgets=(*self._caller.budgets, *self._wall()), request=object(), trace=None, patient=True
        )
        self._variables: Variables = copy_context()
        self._variables.run(SCOPE.set, scope)
        self._context = self._variables.run(self._made_context, self._limit - reserve)

    def _reserve(self) -> Spend:
        """What is kept for the look at held examples; of tokens and dollars, whose bounds are high, a quarter at most."""
        looks = 2 * len(self._setup.held) * self._setup.shape.calls_per_run
        call = self._setup.bounds.get(("run", "evidence"), Charge())
        tokens, nanos = looks * call.tokens, looks * round(call.usd * 1e9)
        return Spend(looks, min(tokens, self._limit.tokens // 4), min(nanos, self._limit.nanos // 4))

    def _made_context(self, limit: Spend) -> Context:
        setup = msgspec.structs.replace(self._setup, held=())  # no search sees them, nor has them within reach
        steps = Steps(self._tape, limit, setup.concurrency, setup.shape.calls_per_run, self._app)
        steps.held = frozenset(setup.keys[id(one)] for one in self._setup.held)
        if setup.executor is not None:
            sizes = len(setup.train), len(setup.val)
            steps.away = Away(Dispatch(*setup.executor), self._tape, self._app, max(sizes))
        return Context(setup, steps, self._elapsed)

    # Looking

    @property
    def status(self) -> str:
        """What it is doing."""
        if self._state == "pausing" and not self._context.steps.scheduler.in_flight:
            return "paused"
        return "parked" if self._state == "running" and self._tape.is_parked else self._state

    @property
    def ledger(self) -> Ledger:
        """What it has cost so far."""
        tape = self._tape
        spent = sum(list(self._context.steps.spent.values()), Spend())
        return Ledger(
            calls=spent.calls, tokens=spent.tokens, usd=spent.usd, paid=tape.paid, paid_before=tape.before.calls,
            reused=tape.reused, cached=tape.cached, failed=tape.failed, lost=tape.lost, seconds=round(self._elapsed(), 3),
            torn_bytes=self._journal.torn_bytes, run_dir=str(self.run_dir),
        )  # fmt: skip

    @property
    def progress(self) -> Progress:
        """How far it is; cheap enough to ask for ten times a second."""
        context, ledger = self._context, self.ledger
        (phase, total), done = context.steps.phase, context.steps.done
        top = context.steps.pool.first(context.val_keys)
        scores = [score for score in top.scores if score is not None] if top else []
        squares = sum(score * score for score in scores)
        low, high = running_interval(sum(scores), squares, len(scores)) if scores else (None, None)
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
        if timeout is not None and not concurrent.futures.wait([self._outcome], timeout).done:
            raise TimeoutError(f"The run {self.run_dir} has not ended within {timeout:g} s; it goes on.")
        return self._outcome.result()

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
        self._context.steps.scheduler.pause(paused)

    def _stop(self, reason: Stop, grace: float) -> None:
        self._state = "stopping"
        scheduler = self._context.steps.scheduler
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
        self._task = asyncio.get_running_loop().create_task(self._lived(), context=self._variables)
        self._task.add_done_callback(self._ended)
        if self._is_aborted:
            self._task.cancel()
        return self._task

    async def _lived(self) -> Module:
        """One life after another, until one ends by itself or crashes for good."""
        while True:
            life = asyncio.get_running_loop().create_task(self._run(), context=self._variables)
            try:
                return await life
            except (Exception, asyncio.CancelledError) as error:
                task = asyncio.current_task()
                is_ours = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling()
                if is_ours or isinstance(error, DspexError) or not self._may_begin_again():
                    raise
                self._begin_again(error)

    def _may_begin_again(self) -> bool:
        """Within the intensity; and a crash that comes again with nothing new done is no accident."""
        now = self._app.clock.monotonic()
        while self._crashes and now - self._crashes[0] > RESTART_PERIOD_S:
            self._crashes.popleft()
        got_further = len(self._tape.steps) > self._known_before
        self._crashes.append(now)
        return len(self._crashes) <= RESTARTS and (got_further or len(self._crashes) == 1)

    def _begin_again(self, error: BaseException) -> None:
        self.restarts += 1
        self._seconds_before, self._began = self._elapsed(), None
        self._journal.close()
        self._prepare(Journal(self.run_dir))
        if self._app.bus.active:
            told = ChildRestarted(self._app.clock.now(), 0, f"job {self.run_dir}", type(error).__name__, self.restarts)
            self._app.bus.publish(told)

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
        limit = Spend.limit(self._budget)
        return (BudgetScope((limit - Spend.of(self._tape.before)).within(limit), self._app.clock),)

    async def _run(self) -> Module:
        context = self._context
        BRANCH.set(context.steps.scheduler.root)
        self._journal.append(Beat("queued", self._seconds_before))
        self._began, self._state = self._app.clock.monotonic(), "running"
        ticking = asyncio.get_running_loop().create_task(self._tick())
        try:
            self._watch_seconds()
            winner, why = await searched(context, self._journal)
            _check_cancelled()
            winner = self._by_objective(context, winner)
            arms = await control_arms(context, winner) if self._setup.controls and why == "done" else ()
            self._journal.append(Stopped(why))
            evidence, kept = await self._weighed(context, winner, why, arms)
        finally:
            ticking.cancel()
            context.steps.scheduler.cancel()
            await context.steps.scheduler.drained()
            if context.steps.away is not None:
                await context.steps.away.aclose()
            await asyncio.gather(ticking, return_exceptions=True)
        program: Any = self._setup.programs.fresh(kept)
        entries = context.steps.pool.ranked(context.val_keys)
        vars(program).update(context.steps.attached)
        program._compiled, program.evidence, program.ledger = True, evidence, self.ledger
        program.candidate_programs = CandidatePrograms(self._setup.programs, lambda: entries)
        whole, draws = complete(context, context.steps.pool), context.draws
        program.frontier = CandidatePrograms(self._setup.programs, lambda: frontier(draws, whole))
        self._state = "cancelled" if why == "cancelled" else "done"
        return program  # type: ignore[no-any-return]  # a Module with what a compile adds

    def _by_objective(self, context: Context, winner: Candidate) -> Candidate:
        options = self._options
        found, said = chosen(context, context.steps.pool, options.objective, options.max_usd_per_call)
        if said:
            context.note(said)
        return found or winner

    async def _weighed(
        self, context: Context, winner: Candidate, why: str, arms: Sequence[Arm]
    ) -> tuple[Evidence, Candidate]:
        """What can be claimed, and the program that is returned; the run's last words."""
        keep, limit = self._options.keep, self._limit
        held, notes = self._setup.held, self._notes
        by_score = self._options.objective == "score" and self._options.max_usd_per_call is None
        evidence = await weighed(
            context, winner, held, stopped=why, keep=keep, limit=limit, notes=notes, arms=arms, by_score=by_score
        )
        kept = winner if evidence.kept else context.student
        tell_of_another_end(self._journal, self._setup, kept, why)
        self._beat()
        self._has_ended = True
        self._journal.append(End(kept.key, msgspec.to_builtins(evidence)))
        # Side by side: one waits for the disk.
        await asyncio.gather(asyncio.to_thread(self._synced), asyncio.to_thread(self._report, self.ledger))
        return evidence, kept

    def _synced(self) -> None:
        with suppress(JournalError):  # the run has ended all the same
            self._journal.sync()

    def _report(self, ledger: Ledger) -> None:
        setup = self._setup
        examples = {setup.keys[id(one)]: one for one in chain(setup.train, setup.val, setup.held)}
        try:
            records = [*self._journal.records, *self._journal.added]
            report.write(self.run_dir, records, ledger, setup.student, examples)
        except Exception as error:  # noqa: BLE001  a page that cannot be written must not cost the program
            warn(f"The report of the run in {self.run_dir} could not be written: {type(error).__name__}: {error}")

    async def _tick(self) -> None:
        """Obey at once; note how far it is, and make the journal safe from a power cut, once a second and after a phase, off the loop."""
        clock, synced = self._app.clock, self._app.clock.monotonic()
        while True:
            await clock.sleep(OBEY_EVERY_S)
            self._obey()
            is_late = self._journal.is_due or clock.monotonic() - synced >= SYNC_EVERY_S
            is_due = is_late and self._journal.is_dirty
            if not self._has_ended and (is_due or self.status != self._beaten):
                self._beat()
            if is_due:
                synced = clock.monotonic()
                await asyncio.to_thread(self._journal.sync)

    def _beat(self) -> None:
        now = self.progress
        self._beaten, spent = now.status, now.spent
        self._journal.append(
            Beat(
                now.status,
                round(self._elapsed(), 3),
                now.phase,
                now.done,
                now.total,
                now.best,
                now.low,
                now.high,
                now.n,
                spent.calls,
                spent.tokens,
                spent.usd,
            )
        )

    def _obey(self) -> None:
        """Do what another process has asked for."""
        path = self.run_dir / CONTROL
        try:
            word = path.read_text().strip()
            path.unlink()
        except OSError:
            return
        if word == "cancel":
            self._stop(Stop("cancelled"), CANCEL_GRACE_S)
        elif word in ("pause", "resume"):
            self._hold(word == "pause")

    def _watch_seconds(self) -> None:
        seconds = self._budget.seconds if self._budget else None
        if seconds is None:
            return
        if any(wall >= seconds for wall in self._walls):
            self._context.steps.scheduler.stop(Stop("budget", "seconds"))  # a replay ends where the run did
        else:
            self._loop.call_later(max(0.0, seconds - self._seconds_before), self._out_of_time, seconds)

    def _out_of_time(self, seconds: float) -> None:
        if self._context.steps.scheduler.stopped is None and not self._outcome.done():
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


def _check_cancelled() -> None:
    """Raises CancelledError if the task was cancelled, whatever an algorithm has made of that."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
