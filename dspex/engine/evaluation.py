"""A step that runs a candidate on an example and scores it."""

from collections.abc import Coroutine, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from msgspec.structs import replace

from dspex.core.candidate import Candidate, Rollout, TraceStep
from dspex.core.errors import AdapterParseError, ConfigurationError, EvaluationError, LMError
from dspex.core.example import Example
from dspex.core.usage import Usage
from dspex.engine.artifact import example_key
from dspex.engine.holdout import shows_sealed
from dspex.engine.recorder import StepRecorder
from dspex.engine.setup import Role, Setup
from dspex.engine.spend import Spend
from dspex.engine.steps import Steps, StepWork, key
from dspex.engine.trace_data import is_of
from dspex.evaluate.running import Scorer
from dspex.runtime.scope import SCOPE

PROBES = 3


class How:
    """In what way a wave of candidates is run: for which role, with which parameters for the model, traced or not."""

    __slots__ = ("_around", "_settings", "name", "params", "role", "traced")

    def __init__(self, name: str, role: Role, params: dict[str, Any], traced: bool) -> None:
        self.name = name
        self.role = role
        self.params = params
        self.traced = traced
        self._around: Mapping[str, Any] | None = None
        self._settings: Mapping[str, Any] = {}

    def settings(self, around: Mapping[str, Any]) -> Mapping[str, Any]:
        """Those that a program has within others, which are the same for a whole wave."""
        if self._around is not around:
            settings = self.role.over(around, self.params)
            self._around, self._settings = around, around if settings == around else settings
        return self._settings


class Evaluations:
    """Runs and scores candidates of one context."""

    def __init__(self, setup: Setup, steps: Steps) -> None:
        self.setup = setup
        self.steps = steps
        steps.metric = steps.metric or setup.metric_identity
        self.is_pooled = steps.metric == setup.metric_identity  # other scores say nothing about the pool's candidates
        self.scorer = Scorer(setup.metric) if setup.metric is not None else None
        self.faults: dict[str, str] = {}
        self.probes: list[str] = []
        # An optimizer inside another may be given examples that are not the outer one's.
        self._keys = {id(one): setup.keys.get(id(one)) or example_key(one) for one in chain(setup.train, setup.val)}
        self._open = set(self._keys.values())
        self._sealed = setup.sealed
        self._cleared: set[str] = set()

    def key_of(self, example: Example) -> str:
        """An example's identity. Raises ConfigurationError for what is no Example."""
        known = self._keys.get(id(example))
        if known is None and not isinstance(example, Example):
            raise ConfigurationError(f"{example!r:.120} is no Example: give those of ctx.train or ctx.val, in a list.")
        return known or example_key(example)

    def reopen(self, held: Sequence[Example]) -> None:
        """Let the held examples be run."""
        self._keys |= {id(one): self.setup.keys[id(one)] for one in held}
        self._open |= {self._keys[id(one)] for one in held}

    def check_demos(self, candidate: Candidate) -> None:
        """Raises ConfigurationError for a candidate that shows a held example."""
        if not self._sealed or candidate.key in self._cleared:
            return
        for path, state in candidate.predictors.items():
            if any(shows_sealed(demo, self._sealed) for demo in state.demos):
                raise ConfigurationError(f"A demo of {path!r} is a held example; those are not for a search.")
        self._cleared.add(candidate.key)

    def works(self, candidate: Candidate, examples: Sequence[Example], bound: Spend, how: How) -> "list[Evaluation]":
        """A candidate's steps. Raises ConfigurationError for what is no candidate, and an example that is not the search's."""
        check_candidate(candidate, "ctx.evaluate")
        if not isinstance(examples, Iterable):
            raise ConfigurationError(
                f"ctx.evaluate was given {examples!r:.80}: examples of ctx.train or ctx.val, in a list."
            )
        self.check_demos(candidate)
        asked = [how.role.identity, *map(str, how.params.items())]
        biased = [candidate.key] if candidate.key != candidate.calls_key else []
        judged = [self.setup.metric_identity, str(how.traced), *biased]
        made = []
        for example in examples:
            found = self.key_of(example)
            if found not in self._open:
                raise ConfigurationError(
                    f"{example!r:.120} is not one of ctx.train or ctx.val; held examples are not for a search."
                )
            run = key(candidate.calls_key, found, *asked)
            step = key(run, *judged)
            if len(self.probes) < PROBES:
                self.probes.append(step)
            made.append(Evaluation(run, bound, step, self, candidate, example, found, how))
        return made

    async def rollout(self, work: "Evaluation", recorder: StepRecorder) -> Rollout:
        """The run and its score."""
        program, paths = self.setup.programs.runnable(work.candidate)
        how, scope = work.how, SCOPE.get()
        trace = work.trace = [] if how.traced else None
        kept: tuple[TraceStep, ...] | None = None
        settings = how.settings(scope.overlay)
        weighed: dict[int, Any] = {}
        # Set and not reset: a step has a task, and so a context, of its own.
        SCOPE.set(inner := replace(scope, overlay=settings, trace=trace, weighed=weighed, recorder=recorder))
        fields, inputs = work.example._store, work.example._input_keys or ()
        given = {name: value for name, value in fields.items() if name in inputs}
        if self.steps.away is None:
            prediction = await program.acall(**given)
        else:
            prediction, kept = await self.steps.away.run(work, program, given, recorder)
        score, feedback = 1.0, None  # without a metric a run that ends is a good one
        if self.scorer is not None:
            if trace is not None or settings is not scope.overlay:  # a judge has the caller's settings, not the role's
                SCOPE.set(replace(inner, overlay=scope.overlay, trace=None))
            score, feedback = await self.scorer(work.example, prediction, trace)
        outputs = dict(prediction._store) if isinstance(prediction, Example) else {"prediction": prediction}
        return Rollout(
            work.example_key, work.candidate.key, score, True, outputs, feedback, None, recorder.usage,
            kept_steps(trace, paths, weighed) if kept is None and trace is not None else kept,
        )  # fmt: skip

    def failed(self, work: "Evaluation", error: BaseException, usage: Usage) -> Rollout:
        """The failed row that stands for a run or a metric that raised."""
        text = f"{type(error).__name__}: {error}"[:1_000].encode(errors="replace").decode()
        self.steps.count_failure(error)
        if not isinstance(error, LMError | AdapterParseError):
            self.faults[work.step] = text
        score = float(getattr(self.setup.optimizer, "failure_score", 0.0))
        trace = work.kept
        if trace is None and work.trace is not None:
            program, paths = self.setup.programs.runnable(work.candidate)
            inputs = {name: work.example._store[name] for name in work.example._input_keys or ()}
            trace = broken_off(work.trace, program, paths, inputs, error)
        return Rollout(work.example_key, work.candidate.key, score, False, {}, None, text, usage, trace)

    def check(self, work: "Evaluation", last: Rollout, fault: BaseException | None) -> None:
        """End a run that nothing can come of. Raises EvaluationError."""
        self.steps.check_outage(last.ok, last.error)
        if last.ok:
            return
        faults = [self.faults.get(step) for step in self.probes]
        if work.step in self.probes and len(faults) == PROBES and faults[0] and len(set(faults)) == 1:
            raise EvaluationError(f"The first {PROBES} examples all fail with {last.error} Nothing more was run.")
        failures, most = self.steps.failures, self.setup.max_errors
        if most is not None and failures >= most:
            message = f"{failures} examples failed, which is `max_errors`; the last: {last.error}"
            raise EvaluationError(message) from fault


class Evaluation(StepWork):
    """A run of a candidate on an example."""

    kind = "evaluate"
    type = Rollout
    __slots__ = ("candidate", "example", "example_key", "how", "kept", "runs", "trace")

    def __init__(  # noqa: PLR0917  made at one place
        self, run: str, bound: Spend, step: str, runs: Evaluations, candidate: Candidate, example: Example,
        example_key: str, how: How,
    ) -> None:  # fmt: skip
        super().__init__(run, bound, step, how.name)
        self.runs = runs
        self.candidate = candidate
        self.example = example
        self.example_key = example_key
        self.how = how
        self.trace: list[Any] | None = None  # of a run that was begun
        self.kept: tuple[TraceStep, ...] | None = None  # the same as data, of one that failed in a worker

    def make(self, recorder: StepRecorder) -> Coroutine[Any, Any, Rollout]:
        """The run and its score."""
        return self.runs.rollout(self, recorder)

    def failed(self, error: BaseException, usage: Usage) -> Rollout:
        """A failed row."""
        return self.runs.failed(self, error, usage)

    def settled(self, value: Rollout) -> None:
        """The score attaches to its candidate."""
        self.runs.steps.touched.add(value.example)
        # A metric may judge otherwise where it has the trace; candidates are told apart by their plain scores.
        is_plain = not self.how.params and not self.how.traced
        if self.role == "task" and is_plain and self.runs.is_pooled:
            self.runs.steps.pool.attach(value, self.runs.steps.tape.seconds.get(self.key, 0.0))

    def ended(self, value: Rollout, fault: BaseException | None) -> None:
        """Whether the run may go on."""
        self.runs.check(self, value, fault)


def check_candidate(given: Any, asked: str) -> None:
    """Raises ConfigurationError for what is no candidate."""
    if not isinstance(given, Candidate):
        raise ConfigurationError(f"{asked} was given {given!r:.80}: a Candidate, as ctx.student is one.")


def kept_steps(trace: list[Any], paths: dict[int, str], weighed: dict[int, Any]) -> tuple[TraceStep, ...]:
    """The calls of the program's own predictors, as data."""
    return tuple(
        TraceStep(paths[id(part)], given, dict(made.items()), scores=weighed.get(id(given), {}))
        for part, given, made in trace
        if id(part) in paths
    )


def broken_off(
    trace: list[Any], program: Any, paths: dict[int, str], inputs: dict[str, Any], error: BaseException
) -> tuple[TraceStep, ...]:
    """The calls of a run that failed, and last the one whose reply could not be read, if that was it."""
    steps = kept_steps(trace, paths, {})
    if not isinstance(error, AdapterParseError):
        return steps
    found = next((part for part in program.predictors() if is_of(part, error.signature)), None)
    if found is None:
        return steps
    reply = error.lm_response.encode(errors="replace").decode()
    return (*steps, TraceStep(paths[id(found)], inputs, {}, reply))
