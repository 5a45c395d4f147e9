"""What an algorithm sees of its run: every effect is keyed by content, journalled, and executed once."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from itertools import chain, zip_longest
from typing import Any

import msgspec

from dspex.app.lm import LM
from dspex.core.candidate import Candidate, Failure, Rollout, Scores
from dspex.core.clock import derived_rng
from dspex.core.errors import ConfigurationError
from dspex.core.example import Example, Prediction
from dspex.core.finetune import FineTuneSpec, LMRef
from dspex.core.usage import Budget
from dspex.engine.asking import Asking, Computing, askable
from dspex.engine.evaluation import Evaluations, How, check_candidate
from dspex.engine.groups import parted
from dspex.engine.infos import PredictorInfo, metric_info, predictor_infos
from dspex.engine.nested import fenced
from dspex.engine.pool import Entry
from dspex.engine.race import Race
from dspex.engine.scheduler import BRANCH
from dspex.engine.search import collect, race
from dspex.engine.setup import Role, Setup
from dspex.engine.spend import Spend
from dspex.engine.steps import Steps, encoder
from dspex.engine.training import TrainingWork, check_training, reference
from dspex.program.module import Module
from dspex.runtime.records import Considered, Mark


class Phase:
    """An open phase of a compile: what progress shows."""

    def __init__(self, steps: Steps, name: str, total: int | None) -> None:
        self._steps = steps
        self._now = (name, total)

    async def __aenter__(self) -> None:
        self._steps.phase, self._steps.done = self._now, 0

    async def __aexit__(self, *_exc_info: object) -> None:
        self._steps.tape.journal.is_due = True  # the next tick syncs it, and no call waits for the disk


class Context:
    """The CompileContext of one run, or of an optimizer inside it: `path` has the labels of those around it,
    `meta` what they give to all candidates that it considers.
    """

    PROTOCOL_VERSION = 1

    def __init__(
        self,
        setup: Setup,
        steps: Steps,
        elapsed: Callable[[], float],
        path: tuple[str, ...] = (),
        meta: Mapping[str, Any] = {},
    ) -> None:
        self.setup = setup
        self.steps = steps
        self.path = path
        self.student, self.teachers = setup.student, setup.teachers
        self.teacher = setup.teachers[0] if setup.teachers else None
        self.train, self.val = setup.train, setup.val
        self.arguments, self.capabilities = setup.arguments, setup.capabilities
        self.warm = setup.warm.rollouts
        self.metric = metric_info(setup.metric, getattr(setup.optimizer, "metric_threshold", None))
        self._elapsed = elapsed
        self._meta = meta
        self._runs = Evaluations(setup, steps)
        self.val_keys = [self._runs.key_of(one) for one in setup.val]
        self._labels: set[str] = set()
        records = steps.tape.journal.records
        self._considered = {(r.key, r.label) for r in records if isinstance(r, Considered)}
        self._times = {r.key: r.value for r in records if isinstance(r, Mark)}

    # Data

    @property
    def predictors(self) -> tuple[PredictorInfo, ...]:
        """The student's predictors, in its order."""
        program, _ = self.setup.programs.runnable(self.student)
        return predictor_infos(program, self.student)

    def key_of(self, example: Example) -> str:
        """An example's identity, as in `Rollout.example` and `Demo.origin`."""
        return self._runs.key_of(example)

    def reopen(self, limit: Spend, held: Sequence[Example]) -> None:
        """The algorithm has ended: let the held examples be run, within what is left of the budget."""
        self._runs.reopen(held)
        self.steps.reopen(limit)

    async def winner(self) -> Candidate:
        """What the algorithm gives. Raises ConfigurationError for what is no candidate, or shows a held example."""
        name, found = type(self.setup.optimizer).__name__, self.setup.optimizer.run(self)
        if not isawaitable(found):
            raise ConfigurationError(f"{name}.run gave {found!r:.80} at once: it has to be `async def run(self, ctx)`.")
        winner: Any = await found
        if not isinstance(winner, Candidate):
            raise ConfigurationError(
                f"{name}.run gave {winner!r:.80}: it has to give a Candidate, as ctx.student is one."
            )
        self._runs.check_demos(winner)
        return winner

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
        return self.draws(*labels)

    @property
    def draws(self) -> Callable[..., Any]:
        """The same, of nothing else of the run."""
        return partial(derived_rng, self.setup.seed, type(self.setup.optimizer).__name__, *self.path)

    # Steps

    async def evaluate(self, candidate: Candidate, examples: Sequence[Example], **same: Any) -> Scores:
        """Run and score a candidate; failures are rollouts with `ok` False."""
        return (await self.evaluate_all([(candidate, examples)], **same))[0]

    async def evaluate_all(
        self, pairs: Sequence[tuple[Candidate, Sequence[Example]]], *, trace: bool = False, sample: int = 0,
        temperature: float | None = None, role: str = "task",
    ) -> list[Scores]:  # fmt: skip
        """One wave of evaluations, in the order asked for."""
        how = How(role, self._known(role, "evaluate"), _params(sample, temperature), trace)
        bound = self.steps.bound(BRANCH.get(), self.setup.bounds.get(("run", role)))
        rows = [self._runs.works(candidate, some, bound, how) for candidate, some in pairs]
        order = chain(*rows) if self.setup.by_candidate else chain(*zip_longest(*rows))
        results = await self.steps.wave([work for work in order if work is not None])
        return [Scores(tuple(results[work.index] for work in row)) for row in rows]

    async def ask(
        self, signature: Any, /, *, role: str = "prompt", n: int = 1, sample: int = 0, temperature: float | None = None,
        **inputs: Any,
    ) -> list[Prediction | Failure]:  # fmt: skip
        """`n` answers of a model to a signature; one that fails or cannot be read is a `Failure`.

        Raises what a slip raises: InputError, and ConfigurationError also for a signature with an input that has an option's name.
        """
        signature, found = askable(signature), self._known(role, "ask")
        bound = self.steps.bound(BRANCH.get(), self.setup.bounds.get(("ask", role)), 2 * n)
        work = Asking(
            self.steps, bound, (role, found), signature, inputs=inputs, n=n, params=_params(sample, temperature)
        )
        self._touch(inputs)
        return work.read((await self.steps.wave([work]))[0])

    def _known(self, name: str, asked: str) -> Role:
        role = self.setup.roles.get(name)
        if role is None:
            known = ", ".join(self.setup.roles)
            raise ConfigurationError(f"ctx.{asked}(role={name!r}): the roles of this optimizer are {known}.")
        return role

    async def compute(self, label: str, function: Callable[..., Any], *args: Any, version: Any = "") -> Any:
        """What a pure function gives, as JSON data: made once, in a thread of its own if it is sync.

        `args` and `version`, that of a library or a function by whose code it goes, are its identity; what goes by the metric's
        runs on the loop as long as that does. Its calls to embedders and models are the step's.
        """
        pace, scorer = None, self._runs.scorer
        if scorer is not None and version is self.setup.metric:
            version, pace = self.setup.metric_identity, scorer.pace
        work = Computing(self.steps.bound(BRANCH.get(), None), label, function, args, version, pace=pace)
        return (await self.steps.wave([work]))[0].value

    async def finetune(self, spec: FineTuneSpec, *, lm: LM, usd: float | None = None) -> LMRef | Failure:
        """Train that model, and give a reference to the new one, for `params["lm"]`; a training that fails is a `Failure`.

        `usd` is the most that it may cost, else what the provider estimates. Raises ConfigurationError as `check_finetune`
        does, and for a price that a budget needs and nobody knows.
        """
        work = TrainingWork(self.steps, lm, spec, usd)
        made = (await self.steps.wave([work]))[0]
        return reference(lm, made.model) if made.ok else Failure.of(made.error)

    async def check_finetune(self, lm: Any, *, usd: float | None = None, train_kwargs: Mapping[str, Any] = {}) -> None:
        """Raises ConfigurationError for a model that cannot be trained, before anything is paid for its data.

        Its provider is started: what the model can do decides how rows are written.
        """
        check_training(self.steps, lm, usd, train_kwargs)
        await lm.ready()

    async def now(self) -> float:
        """Seconds of running time since the start, earlier processes included; a replay is given the same."""
        place = "now/" + "/".join(map(str, BRANCH.get().next_place()))
        if place not in self._times:
            self._times[place] = round(self._elapsed(), 3)
            self.steps.tape.journal.append(Mark(place, self._times[place]))
        return self._times[place]

    def _touch(self, inputs: Mapping[str, Any]) -> None:
        """Examples whose inputs all stand in these are touched: their text is in a question."""
        text = "\n".join(_text(value) for value in inputs.values())
        for one in chain(self.train, self.val):
            if all(str(one._store[name]) in text for name in one._input_keys or ()):
                self.steps.touched.add(self.key_of(one))

    # Searches

    async def race(
        self, candidates: Sequence[Candidate], examples: Sequence[Example], *, z: float = 2.4, block: int | None = None,
        keep: int = 1,
    ) -> Race:  # fmt: skip
        """Evaluate block by block, and drop what has clearly lost; `z` infinite keeps all to the end, in one wave.

        The student is never dropped: without its scores nothing could be said about a gain.
        """
        return await race(self, candidates, examples, z=z, block=block, keep=keep)

    async def collect(
        self, candidate: Candidate, examples: Sequence[Example], want: int, *, role: str = "teacher", rounds: int = 1,
        speculate: bool = True,
    ) -> list[Rollout]:  # fmt: skip
        """The first `want` passing rollouts in example order, with traces; a demo made of an example is hidden from it.

        Good runs of a warm start come first. An example that does not pass is tried again up to `rounds` times, as new samples at temperature 1. Windows depend
        on what has passed so far; `speculate` False never runs an example that a walk one by one would not have run.
        """
        return await collect(self, candidate, examples, want, role=role, rounds=rounds, ahead=speculate)

    async def gather(self, *awaitables: Coroutine[Any, Any, Any]) -> list[Any]:
        """Run branches side by side; the only way to do so."""
        return await self.steps.scheduler.gather(awaitables)

    async def compile(
        self, optimizer: Any, student: Candidate, *, label: str, train: Sequence[Example] | None = None,
        val: Sequence[Example] | None = None, teacher: Candidate | Sequence[Candidate] | None = None,
        meta: Mapping[str, Any] = {}, **arguments: Any,
    ) -> Candidate:  # fmt: skip
        """What another optimizer makes of a candidate, in this run: same journal, pool and budget; `label` is its own.

        It has the metric and the settings that it was made with, else this one's. `meta` is given to all that it considers.
        Examples that are held are left out. Raises ConfigurationError for a foreign candidate, EvaluationError for whatever
        ends it: the run may go on without it, except from a branch of `gather`.
        """
        if label in self._labels:
            raise ConfigurationError(f"ctx.compile(label={label!r}) was used before: give each place its own label.")
        self._labels.add(label)
        teachers = () if teacher is None else (teacher,) if isinstance(teacher, Candidate) else tuple(teacher)
        setup = optimizer.within(self.setup, student, teachers, arguments)
        path = (*self.path, label)
        rng = derived_rng(setup.seed, type(optimizer).__name__, *path, "parts")
        given = self._searched(train or self.train), self._searched(val or (() if train else self.val))
        parts = dict(zip(("train", "val"), map(tuple, parted(optimizer, *given, rng, setup.groups)), strict=True))
        inner = Context(
            msgspec.structs.replace(setup, **parts), self.steps, self._elapsed, path, {**self._meta, **meta}
        )
        return await fenced(inner, optimizer)

    # The pool, progress, the budget

    def consider(
        self, candidate: Candidate, label: str, parents: Sequence[Candidate] = (), meta: Mapping[str, Any] = {}
    ) -> Candidate:
        """Enter a candidate into the pool; its scores attach by key.

        Raises ConfigurationError for what is no candidate, or shows a held example.
        """
        check_candidate(candidate, "ctx.consider")
        self._runs.check_demos(candidate)
        label, meta = "/".join([*self.path, label]), {**self._meta, **meta}
        above = tuple(parent.key for parent in parents)
        self.steps.pool.add(Entry(candidate, label, BRANCH.get().next_place(), above, meta))
        self.steps.touched |= {demo.origin for state in candidate.predictors.values() for demo in state.demos}
        if (candidate.key, label) not in self._considered:
            self._considered.add((candidate.key, label))
            state = msgspec.Raw(encoder.encode(candidate))
            self.steps.tape.journal.append(Considered(candidate.key, label, state, above, dict(meta)))
        return candidate

    def note(self, text: str) -> None:
        """Say something in the evidence; nothing that depends on timing."""
        self.steps.notes.append(text)

    def _searched(self, examples: Sequence[Example]) -> list[Example]:
        return [one for one in examples if self.key_of(one) not in self.steps.held]

    def phase(self, name: str, total: int | None = None) -> Phase:
        """Name what is going on, for progress."""
        return Phase(self.steps, "/".join([*self.path, name]), total)

    async def remaining(self) -> Budget:
        """What is left of this branch's share of the budget."""
        # A branch's share of what has no limit is a number too.
        return BRANCH.get().free.within(self.steps.limit)

    def program(self, candidate: Candidate) -> Module:
        """A new program with this state, for results and for what its fields are; its calls would be in no journal."""
        return self.setup.programs.fresh(candidate)

    def attach(self, **attributes: Any) -> None:
        """Give the program that is returned attributes, which are not saved with it."""
        self.steps.attached.update(attributes)


def _text(value: Any) -> str:
    return "\n".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)


def _params(sample: int, temperature: float | None) -> dict[str, Any]:
    """What an independent draw changes in a request."""
    params = {"rollout_id": sample or None, "temperature": temperature}
    return {name: value for name, value in params.items() if value is not None}
