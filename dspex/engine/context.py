"""What an algorithm sees of its run: every effect is keyed by content, journalled, and executed once."""

import asyncio
import hashlib
import math
from collections.abc import Coroutine, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

import msgspec

from dspex.core.candidate import Candidate, PredictorState, Rollout, Scores, Shape, TraceStep
from dspex.core.clock import derived_rng
from dspex.core.endpoint import Capabilities
from dspex.core.errors import (
    AdapterParseError,
    AuthError,
    BudgetExceeded,
    CircuitOpen,
    ConfigurationError,
    EvaluationError,
    JournalError,
    LMError,
    LMTimeout,
    RateLimited,
    Unavailable,
)
from dspex.core.example import Example
from dspex.core.identity import digest
from dspex.core.usage import Budget, Usage
from dspex.engine.artifact import Programs, example_key
from dspex.engine.pool import Entry, Pool
from dspex.engine.race import Race, block_size, leading, survivors
from dspex.engine.recorder import StepRecorder, Tape
from dspex.engine.scheduler import BRANCH, UNLIMITED, Scheduler, Spend, Stop, Work
from dspex.evaluate.running import Scorer
from dspex.runtime.records import Considered, Step
from dspex.runtime.scope import SCOPE
from dspex.service.ledger import DEFAULT_OUTPUT_TOKENS

OUTAGE = (AuthError, CircuitOpen, LMTimeout, RateLimited, Unavailable)
OUTAGE_LIMIT = 10  # steps that fail so one after another end a run: their zeros would say nothing about a candidate
PROBES = 3
WINDOW = 16


class MetricInfo(msgspec.Struct, frozen=True):
    """What an algorithm may know of the metric: the least score that passes, None for any above 0."""

    threshold: float | None = None

    def passes(self, rollout: Rollout) -> bool:
        """Whether a run is good enough to be a demonstration."""
        least = self.threshold
        return rollout.ok and (rollout.score > 0 if least is None else rollout.score >= least)


class Role(msgspec.Struct, frozen=True):
    """How programs run for one purpose: settings laid over the caller's, and what tells this from other roles."""

    overlay: Mapping[str, Any]
    identity: str


class Setup(msgspec.Struct, frozen=True):
    """All that a context is made from."""

    optimizer: Any
    arguments: Mapping[str, Any]
    student: Candidate
    teacher: Candidate | None
    programs: Programs
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    held: tuple[Example, ...]
    keys: Mapping[int, str]
    metric: Any
    metric_identity: str
    roles: Mapping[str, Role]
    capabilities: Mapping[str, Capabilities]
    shape: Shape
    seed: int
    concurrency: int
    max_errors: int | None
    by_candidate: bool  # the order of waves: candidate by candidate, else example by example


class StepWork(Work):
    """A run of a candidate on an example; equal `key`s share their LM calls, equal `step`s their result."""

    __slots__ = ("candidate", "example", "params", "role", "step", "traced")

    def __init__(self, key: str, bound: Spend, step: str, what: tuple[Any, ...]) -> None:
        super().__init__(key, bound)
        self.step = step
        self.candidate, self.example, self.role, self.params, self.traced = what


class Phase:
    """An open phase of a compile: what progress shows."""

    def __init__(self, context: "Context", name: str, total: int | None) -> None:
        self._context = context
        self._now = (name, total)

    async def __aenter__(self) -> None:
        self._context.phase_now, self._context.done = self._now, 0

    async def __aexit__(self, *_exc_info: object) -> None:
        await asyncio.to_thread(self._context.tape.journal.sync)


class Context:
    """The CompileContext of one run."""

    PROTOCOL_VERSION = 1

    def __init__(self, setup: Setup, tape: Tape, limit: Spend) -> None:
        self.setup = setup
        self.tape = tape
        self.student, self.teacher = setup.student, setup.teacher
        self.train, self.val = setup.train, setup.val
        self.arguments, self.capabilities = setup.arguments, setup.capabilities
        self.metric = MetricInfo(getattr(setup.optimizer, "metric_threshold", None))
        self.predictors: Mapping[str, PredictorState] = setup.student.predictors
        self.pool = Pool()
        self._limit = limit
        self.scheduler = Scheduler(limit, setup.concurrency, self._recall, self._execute)
        self.spent: dict[str, Spend] = {}
        self.touched: set[str] = set()
        self.phase_now: tuple[str, int | None] = ("", None)
        self.done = 0
        self._scorer = Scorer(setup.metric) if setup.metric is not None else None
        self._keys = {id(one): setup.keys[id(one)] for one in chain(setup.train, setup.val, setup.held)}
        self._open = {self._keys[id(one)] for one in chain(setup.train, setup.val)}
        self._labels: set[str] = set()
        self._probes: list[str] = []
        self._faults: dict[str, str] = {}
        self._failures = self._outage = 0
        self._steps: dict[str, Any] = tape.steps
        self._considered = {(r.key, r.label) for r in tape.journal.records if isinstance(r, Considered)}

    # Data

    def key_of(self, example: Example) -> str:
        """An example's identity, as in `Rollout.example` and `Demo.origin`."""
        return self._keys.get(id(example)) or example_key(example)

    def reopen(self, limit: Spend) -> None:
        """The algorithm has ended: let the held examples be run, within what is left of the budget."""
        self._open |= {self._keys[id(one)] for one in self.setup.held}
        self.scheduler = Scheduler(limit, self.setup.concurrency, self._recall, self._execute)
        BRANCH.set(self.scheduler.root)

    def rng(self, label: str) -> Any:
        """A stream of its own for that label; a label names one place of the algorithm, so it is given once."""
        if label in self._labels:
            raise ConfigurationError(
                f"ctx.rng({label!r}) was asked for twice: give each place of the algorithm its own label."
            )
        self._labels.add(label)
        return self.derived(label)

    def derived(self, *labels: object) -> Any:
        """The engine's own streams."""
        return derived_rng(self.setup.seed, type(self.setup.optimizer).__name__, *labels)

    # Steps

    async def evaluate(self, candidate: Candidate, examples: Sequence[Example], **same: Any) -> Scores:
        """Run and score a candidate; failures are rollouts with `ok` False."""
        return (await self.evaluate_all([(candidate, examples)], **same))[0]

    async def evaluate_all(
        self, pairs: Sequence[tuple[Candidate, Sequence[Example]]], *, trace: bool = False, sample: int = 0,
        temperature: float | None = None, role: str = "task",
    ) -> list[Scores]:  # fmt: skip
        """One wave of evaluations, in the order asked for."""
        params = {"rollout_id": sample or None, "temperature": temperature}
        params = {name: value for name, value in params.items() if value is not None}
        bound = self._bound(BRANCH.get())
        how = (role, params, trace)
        rows = [[self._work(candidate, one, bound, how) for one in some] for candidate, some in pairs]
        order = chain(*rows) if self.setup.by_candidate else chain(*zip_longest(*rows))
        works = [work for work in order if work is not None]
        results = await self.scheduler.wave(works)
        return [Scores(tuple(results[work.index] for work in row)) for row in rows]

    def _work(
        self, candidate: Candidate, example: Example, bound: Spend, how: tuple[str, dict[str, Any], bool]
    ) -> StepWork:
        found, (role, params, trace) = self.key_of(example), how
        if found not in self._open:
            raise ConfigurationError(
                f"{example!r:.120} is not one of ctx.train or ctx.val; held examples are not for a search."
            )
        run = _key(candidate.key, found, self.setup.roles[role].identity, *map(str, params.items()))
        step = _key(run, self.setup.metric_identity, str(trace))
        if len(self._probes) < PROBES:
            self._probes.append(step)
        return StepWork(run, bound, step, (candidate, example, *how))

    def _bound(self, branch: Any) -> Spend:
        """What one step may take at most: two calls a predictor, or more than the most that was seen in this branch."""
        calls, tokens, usd = branch.seen.units
        most = max(2 * self.setup.shape.calls_per_run, calls + 1)
        tokens = tokens + tokens // 2 or most * DEFAULT_OUTPUT_TOKENS
        return Spend((most, tokens if self._limit.units[1] < UNLIMITED else 0, usd + usd // 2))

    def _recall(self, work: StepWork) -> tuple[Rollout, Spend] | None:
        """The result of a finished step. Whoever asks settles it, so what it stands for is counted here."""
        found = self._steps.get(work.step)
        if found is None:
            return None
        if isinstance(found, Step):
            rollout = self._steps[work.step] = msgspec.json.decode(found.value, type=Rollout)
            self.tape.reuse(work.key)
        else:
            rollout = found
        self.done += 1
        spend = Spend.of(rollout.usage)
        self.spent[work.role] = self.spent[work.role] + spend if work.role in self.spent else spend
        self.touched.add(rollout.example)
        if work.role == "task" and not work.params:
            self.pool.attach(rollout)
        return rollout, spend

    async def _execute(self, work: StepWork) -> None:
        recorder = StepRecorder(self.tape, work.key)
        fault: BaseException | None = None
        try:
            rollout = await self._rollout(work, recorder)
            value = _encoder.encode(rollout)
        except (JournalError, Stop):
            raise
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            fault, rollout = error, self._failed(work, error, recorder.usage)
            value = _encoder.encode(rollout)
        if isinstance(recorder.failure, BudgetExceeded):
            raise Stop("budget", str(recorder.failure))
        if recorder.failure is not None:
            raise recorder.failure
        self.tape.journal.append(Step(work.step, "evaluate", msgspec.Raw(value)))
        # What a replay will see, and not what was in memory.
        self._steps[work.step] = msgspec.json.decode(value, type=Rollout)
        self._check(work, rollout, fault)

    async def _rollout(self, work: StepWork, recorder: StepRecorder) -> Rollout:
        program, paths = self.setup.programs.runnable(work.candidate)
        scope = SCOPE.get()
        trace: list[Any] | None = [] if work.traced else None
        settings = {**scope.overlay, **self.setup.roles[work.role].overlay}
        if work.params:
            settings["lm_params"] = {**settings.get("lm_params", {}), **work.params}
        # Set and not reset: a step has a task, and so a context, of its own.
        SCOPE.set(scope.child(overlay=settings, trace=trace, recorder=recorder))
        fields, keys = work.example._store, work.example._input_keys or ()
        prediction = await program.acall(**{name: value for name, value in fields.items() if name in keys})
        score, feedback = 1.0, None  # without a metric a run that ends is a good one
        if self._scorer is not None:
            SCOPE.set(scope.child(trace=None, recorder=recorder))  # a judge has the caller's settings, not the role's
            score, feedback = await self._scorer(work.example, prediction, trace)
        outputs = dict(prediction._store) if isinstance(prediction, Example) else {"prediction": prediction}
        kept = [
            TraceStep(paths[id(part)], given, dict(made.items()))
            for part, given, made in trace or ()
            if id(part) in paths
        ]
        return Rollout(
            self.key_of(work.example), work.candidate.key, score, True, outputs, feedback, None, recorder.usage,
            None if trace is None else tuple(kept),
        )  # fmt: skip

    def _failed(self, work: StepWork, error: BaseException, usage: Usage) -> Rollout:
        text = f"{type(error).__name__}: {error}"[:1_000].encode(errors="replace").decode()
        self._failures += 1
        self._outage = self._outage + 1 if isinstance(error, OUTAGE) else 0
        if not isinstance(error, LMError | AdapterParseError):
            self._faults[work.step] = text
        score = float(getattr(self.setup.optimizer, "failure_score", 0.0))
        return Rollout(self.key_of(work.example), work.candidate.key, score, False, {}, None, text, usage)

    def _check(self, work: StepWork, last: Rollout, fault: BaseException | None) -> None:
        """End a run that nothing can come of. Raises EvaluationError."""
        if last.ok:
            self._outage = 0
            return
        faults = [self._faults.get(step) for step in self._probes]
        if work.step in self._probes and len(faults) == PROBES and faults[0] and len(set(faults)) == 1:
            raise EvaluationError(f"The first {PROBES} examples all fail with {last.error} Nothing more was run.")
        if self._outage >= OUTAGE_LIMIT:
            raise EvaluationError(f"{self._outage} examples one after another found no model: {last.error}")
        if self.setup.max_errors is not None and self._failures >= self.setup.max_errors:
            message = f"{self._failures} examples failed, which is `max_errors`; the last: {last.error}"
            raise EvaluationError(message) from fault

    # Searches

    async def race(
        self, candidates: Sequence[Candidate], examples: Sequence[Example], *, z: float = 2.4, block: int | None = None,
        keep: int = 1,
    ) -> Race:  # fmt: skip
        """Evaluate block by block, and drop what has clearly lost; `z` infinite keeps all to the end, in one wave.

        The student is never dropped: without its scores nothing could be said about a gain.
        """
        order = list(examples)
        self.derived("race", digest(sorted(map(self.key_of, order)))).shuffle(order)
        width = len(order) if math.isinf(z) else block or block_size(len(order))
        rows: list[list[Rollout]] = [[] for _ in candidates]
        alive = list(range(len(candidates)))
        for start in range(0, len(order), width):
            wave = await self.evaluate_all([(candidates[row], order[start : start + width]) for row in alive])
            for row, scores in zip(alive, wave, strict=True):
                rows[row] += scores.rows
            left = survivors([[one.score for one in rows[row]] for row in alive], z, keep)
            alive = [row for at, row in enumerate(alive) if at in left or candidates[row].key == self.student.key]
        winner = leading([[one.score for one in row] for row in rows], alive)
        dropped = tuple(row for row in range(len(candidates)) if row not in alive)
        scored = tuple(Scores(tuple(row)) for row in rows)
        return Race(candidates[winner], tuple(candidates), scored, dropped)

    async def collect(
        self, candidate: Candidate, examples: Sequence[Example], want: int, *, role: str = "teacher", rounds: int = 1,
        speculate: bool = True,
    ) -> list[Rollout]:  # fmt: skip
        """The first `want` passing rollouts in example order, with traces; a demo made of an example is hidden from it.

        An example that does not pass is tried again up to `rounds` times, as new samples at temperature 1. Windows depend
        on what has passed so far; `speculate` False never runs an example that a walk one by one would not have run.
        """
        passed: list[Rollout] = []
        at = 0
        while len(passed) < want and at < len(examples):
            need = want - len(passed)
            likely = min(WINDOW, max(need, math.ceil(need * (at + 2) / (len(passed) + 1))))
            window = examples[at : at + (likely if speculate else need)]
            at += len(window)
            got: dict[int, Rollout] = {}
            for sample in range(rounds):
                todo = [row for row in range(len(window)) if row not in got]
                pairs = [(_without(candidate, self.key_of(window[row])), [window[row]]) for row in todo]
                warm = 1.0 if sample else None
                wave = await self.evaluate_all(pairs, trace=True, sample=sample, temperature=warm, role=role)
                got |= {row: s.rows[0] for row, s in zip(todo, wave, strict=True) if self.metric.passes(s.rows[0])}
            passed += [got[row] for row in sorted(got)]
        return passed[:want]

    async def gather(self, *awaitables: Coroutine[Any, Any, Any]) -> list[Any]:
        """Run branches side by side; the only way to do so."""
        return await self.scheduler.gather(awaitables)

    # The pool, progress, the budget

    def consider(
        self, candidate: Candidate, label: str, parents: Sequence[Candidate] = (), meta: Mapping[str, Any] = {}
    ) -> Candidate:
        """Enter a candidate into the pool; its scores attach by key."""
        above = tuple(parent.key for parent in parents)
        self.pool.add(Entry(candidate, label, BRANCH.get().next_place(), above, meta))
        self.touched |= {demo.origin for state in candidate.predictors.values() for demo in state.demos}
        if (candidate.key, label) not in self._considered:
            self._considered.add((candidate.key, label))
            state = msgspec.Raw(_encoder.encode(candidate))
            self.tape.journal.append(Considered(candidate.key, label, state, above, dict(meta)))
        return candidate

    def phase(self, name: str, total: int | None = None) -> Phase:
        """Name what is going on, for progress."""
        return Phase(self, name, total)

    async def remaining(self) -> Budget:
        """What is left of this branch's share of the budget."""
        units = BRANCH.get().free.units
        calls, tokens, usd = (None if unit > UNLIMITED // 2 else unit for unit in units)
        return Budget(calls, tokens, None if usd is None else usd / 1e9)


def _without(candidate: Candidate, origin: str) -> Candidate:
    """The candidate without demos made of that example."""
    changed = {
        path: tuple(demo for demo in state.demos if demo.origin != origin)
        for path, state in candidate.predictors.items()
        if any(demo.origin == origin for demo in state.demos)
    }
    return candidate.with_demos(changed) if changed else candidate


def _key(*parts: str) -> str:
    return hashlib.blake2b("/".join(parts).encode(), digest_size=16).hexdigest()


def _json(value: Any) -> Any:
    dump = getattr(value, "toDict", None) or getattr(value, "model_dump", None)
    return dump() if dump is not None else str(value)


_encoder = msgspec.json.Encoder(enc_hook=_json)
