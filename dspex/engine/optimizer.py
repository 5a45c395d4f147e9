"""Optimizer: the base of what improves programs. A subclass is its algorithm; the engine does all the rest."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeVar
from uuid import uuid4

import msgspec

from dspex.app.app import current_app
from dspex.core.candidate import Candidate, Estimate, Shape
from dspex.core.endpoint import Capabilities
from dspex.core.errors import BudgetExceeded, ConfigurationError, EvaluationError, JournalError, MissingPlugin
from dspex.core.example import Example
from dspex.core.identity import canonical, digest
from dspex.core.nearest import did_you_mean
from dspex.core.usage import Budget
from dspex.engine.artifact import Programs, example_key, extracted, fingerprint
from dspex.engine.context import Role, Setup
from dspex.engine.evidence import set_apart
from dspex.engine.job import Job, Progress
from dspex.evaluate.report import ProgressBar
from dspex.program.module import Module
from dspex.program.saving import kernel_version
from dspex.runtime.journal import FILE, FORMAT, Journal, replay
from dspex.runtime.records import Run

M = TypeVar("M", bound=Module)

NOT_COMPARED = frozenset({"num_threads", "max_errors", "track_stats", "verbose", "log_dir"})


class Optimizer:
    """Base of optimizers: write `estimate` and `run`, and name in `compile_arguments` what compile takes besides.

    Attributes are the constructor's arguments; the engine reads `metric`, `metric_threshold`, `teacher_settings`,
    `num_threads`, `max_errors` and `failure_score` where they are set.
    """

    metric: Any = None
    metric_threshold: float | None = None
    teacher_settings: Mapping[str, Any] | None = None
    num_threads: int | None = None
    max_errors: int | None = None
    failure_score: float = 0.0
    compile_arguments: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def estimate(self, shape: Shape) -> Estimate:
        """Bounds of LM calls by role, before anything runs."""
        return Estimate()

    async def run(self, ctx: Any) -> Candidate:
        """The algorithm; `ctx` is a CompileContext."""
        raise NotImplementedError

    def finish(self, program: Module, candidate: Candidate) -> None:
        """Give a copy of the student what this candidate's `params` stand for, where the optimizer uses them."""

    def roles(self) -> dict[str, Mapping[str, Any]]:
        """The settings that programs run under, by role."""
        return {"task": {}, "teacher": self.teacher_settings or {}}

    def compile(self, student: M, *, trainset: Sequence[Example], **options: Any) -> M:
        """`start`, a progress bar on a terminal, and wait. Ctrl-C leaves a run folder that the same call goes on from."""
        jobs: list[Job] = []
        try:
            return current_app().bridge.run(self._watched(student, jobs, trainset=trainset, **options))
        except KeyboardInterrupt:
            where = f" Run folder: {jobs[0].run_dir}; the same call with this run_dir goes on." if jobs else ""
            raise KeyboardInterrupt(f"The compile was interrupted.{where}") from None

    async def acompile(self, student: M, *, trainset: Sequence[Example], **options: Any) -> M:
        """`compile` on the running loop; cancelling it ends the run, and the same `run_dir` goes on from there."""
        return await self._watched(student, [], trainset=trainset, **options)

    async def _watched(self, student: M, jobs: list[Job], **options: Any) -> M:
        job = self.start(student, **options)
        jobs.append(job)
        try:
            with ProgressBar(type(self).__name__, lambda: shown(job.progress)):
                return await job  # type: ignore[return-value]  # a changed copy of the student
        except asyncio.CancelledError:
            job.abort()
            await asyncio.wait([asyncio.ensure_future(job)])
            raise

    def start(
        self,
        student: Module,
        *,
        trainset: Sequence[Example],
        valset: Sequence[Example] | None = None,
        teacher: Module | None = None,
        holdout: Any = "auto",
        keep: Literal["estimate", "better"] = "estimate",
        run_dir: str | Path | None = None,
        budget: Budget | None = None,
        executor: Any = None,
        seed: int = 0,
        num_threads: int | None = None,
        max_errors: int | None = None,
        **arguments: Any,
    ) -> Job:
        """Begin to compile, and return at once; the student is not touched.

        `valset` is the trainset unless given. `holdout` is set apart for the evidence: "auto" (a fifth, from 100 examples
        on), 0, a fraction or a list. `keep` "estimate" returns what is better by the corrected estimate, "better" only what is
        shown to be. The same `run_dir` again goes on where a run ended and repeats no finished call; None makes a folder
        below DSPEX_RUNS_DIR. Raises BudgetExceeded if the estimate does not fit, JournalError for a folder of another run.
        """
        if executor is not None:
            raise ConfigurationError("compile(executor=...) is not there yet; leave it out to run in this process.")
        if keep not in ("estimate", "better"):
            raise ConfigurationError(f'keep={keep!r}: "estimate" or "better".')
        given = {**self.compile_arguments, **self._known(arguments)}
        whole, more = list(trainset), list(valset or ())
        apart = list(holdout) if isinstance(holdout, list | tuple) else []
        _check_data(student, trainset=whole, valset=more, holdout=apart)
        keys = {id(one): example_key(one) for one in chain(whole, more, apart)}
        most = budget.calls // (8 * len(student.predictors())) if budget and budget.calls is not None else None
        most = _held_before(run_dir, most)
        train, val, held, notes = set_apart(whole, more, holdout if self.metric else 0, keys, seed=seed, most=most)
        errors = self.max_errors if max_errors is None else max_errors
        setup = self._setup(
            (student, teacher),
            (train, val or train, held),
            keys,
            given,
            seed=seed,
            num_threads=num_threads,
            max_errors=errors,
        )
        self._refuse(setup.shape, budget)
        identity = {
            "optimizer": [f"{type(self).__module__}.{type(self).__qualname__}", self._constructed()],
            "arguments": fingerprint({**given, "keep": keep}),
            "student": fingerprint(student),
            "teacher": fingerprint(teacher) if teacher is not None else None,
            **{
                name: _data(part, keys)
                for name, part in (("trainset", whole), ("valset", more), ("held examples", held))
            },
            "metric": setup.metric_identity,
            "language model and adapter": {name: role.identity for name, role in setup.roles.items()},
            "seed": seed,
        }
        journal, waves = _opened(run_dir, identity, budget, "by candidate" if setup.by_candidate else "by example")
        setup = msgspec.structs.replace(setup, by_candidate=waves == "by candidate")
        return Job(setup, journal, budget, keep, notes)

    def _known(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in arguments.keys() - self.compile_arguments.keys():
            hint = did_you_mean(name, [*self.compile_arguments, *OPTIONS])
            raise ConfigurationError(f"{type(self).__name__}.compile has no argument {name!r}.{hint}")
        return arguments

    def _constructed(self) -> dict[str, Any]:
        kept = {name: value for name, value in vars(self).items() if name not in NOT_COMPARED and name[0] != "_"}
        return {name: fingerprint(value) for name, value in kept.items()}

    def _setup(
        self, programs: tuple[Module, Module | None], parts: tuple[list[Example], ...], keys: Mapping[int, str],
        arguments: Mapping[str, Any], *, seed: int, num_threads: int | None, max_errors: int | None,
    ) -> Setup:  # fmt: skip
        settings, (student, teacher) = current_app().settings, programs
        roles, capabilities = {}, {}
        for name, overlay in self.roles().items():
            lm, adapter = overlay.get("lm", settings.lm), overlay.get("adapter", settings.adapter)
            lms = [part.lm or lm for part in (student if name == "task" else teacher or student).predictors()]
            told = [type(adapter).__name__, getattr(adapter, "version", adapter)]
            roles[name] = Role(overlay, digest([[one and one.identity for one in lms], told]))
            capabilities[name] = lm.capabilities if lm is not None else Capabilities()
        task = capabilities["task"]
        threads = (
            num_threads or self.num_threads or min(settings.num_threads, task.max_concurrency or settings.num_threads)
        )
        repeats = max(getattr(part, "max_iters", 1) for _, part in student.named_sub_modules())
        count = len(student.predictors())
        shape = Shape(count, count * repeats, len(parts[0]), len(parts[1]), len(parts[2]))
        return Setup(
            optimizer=self, arguments=arguments, student=extracted(student),
            teacher=extracted(teacher) if teacher is not None else None,
            programs=Programs(*(one for one in programs if one is not None), finish=self.finish),
            train=tuple(parts[0]), val=tuple(parts[1]), held=tuple(parts[2]), keys=keys, metric=self.metric,
            metric_identity=digest(fingerprint(self.metric)), roles={**roles, "evidence": roles["task"]},
            capabilities=capabilities, shape=shape, seed=seed, concurrency=threads,
            max_errors=max_errors, by_candidate=bool(task.prefix_slots),
        )  # fmt: skip

    def _refuse(self, shape: Shape, budget: Budget | None) -> None:
        """Raises BudgetExceeded, before anything is spent, if the most that may be needed does not fit."""
        if budget is None or budget.calls is None or budget.on_short == "stop":
            return
        search, evidence = self.estimate(shape).high, 2 * shape.held * shape.calls_per_run
        if search + evidence > budget.calls:
            raise BudgetExceeded(
                f"{type(self).__name__} may take {search} calls for the search and {evidence} for the evidence; the budget "
                f'has {budget.calls}. Raise it, ask for less, or pass Budget(..., on_short="stop") to stop at the wall with '
                "the best program so far.",
                unit="calls",
                limit=budget.calls,
            )


OPTIONS = ("trainset", "valset", "teacher", "holdout", "keep", "run_dir", "budget", "seed", "num_threads", "max_errors")


def optimizer_class(name: str) -> type[Optimizer]:
    """The optimizer that a plugin offers under this name. Raises MissingPlugin, an AttributeError, that says what to install."""
    manager = current_app().plugins
    spec = manager.find("optimizers", name)
    if spec is None:
        raise MissingPlugin(manager.unknown("optimizers", name, f"dspex.{name}"))
    found: Any = spec.load()
    return found  # type: ignore[no-any-return]  # a plugin's class


def shown(progress: Progress) -> tuple[int, int | None, str]:
    """Progress for a bar: steps done, steps in all if known, and the rest as text."""
    parts = [progress.phase]
    if progress.best is not None and progress.low is not None and progress.high is not None:
        parts.append(f"best {100 * progress.best:.1f} [{100 * progress.low:.0f}, {100 * progress.high:.0f}]")
    spent = progress.spent
    parts.append(f"{spent.calls} calls, {spent.tokens:,} tokens{f', {spent.reused} reused' if spent.reused else ''}")
    return progress.done, progress.total, "  ".join(part for part in parts if part)


def runs_folder() -> Path:
    """Where runs without a `run_dir` lie: DSPEX_RUNS_DIR, else below the user's state folder."""
    given = os.environ.get("DSPEX_RUNS_DIR")
    if given:
        return Path(given)
    import platformdirs

    return platformdirs.user_state_path("dspex") / "runs"


def _check_data(student: Module, **parts: list[Example]) -> None:
    if not getattr(student, "predictors", list)():
        raise ConfigurationError(f"compile needs a program with at least one predictor, not {student!r:.80}.")
    if not parts["trainset"]:
        raise ConfigurationError("The trainset is empty: an optimizer needs at least one example.")
    for name, part in parts.items():
        for index, example in enumerate(part):
            if getattr(example, "_input_keys", None) is None:
                raise EvaluationError(
                    f"Example {index} of the {name} declares no inputs: call .with_inputs(...) on {example!r:.120}"
                )


def _data(part: Sequence[Example], keys: Mapping[int, str]) -> dict[str, Any]:
    return {"examples": len(part), "digest": digest([keys[id(one)] for one in part])}


def _held_before(run_dir: str | Path | None, most: int | None) -> int | None:
    """How many examples a run begun before has set apart, whatever its budget was; else `most`."""
    path = Path(run_dir or "", FILE)
    if run_dir is None or not path.is_file():
        return most
    with path.open("rb") as file:
        records, _ = replay(file.readline())
    before = records[0] if records else None
    return before.identity["held examples"]["examples"] if isinstance(before, Run) else most


def _opened(
    run_dir: str | Path | None, identity: dict[str, Any], budget: Budget | None, waves: str
) -> tuple[Journal, str]:
    """The journal of a new run, or of the same run begun before, and its order of waves. Raises JournalError for another."""
    name = str(identity["optimizer"][0]).rpartition(".")[2]
    new = runs_folder() / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-{uuid4().hex[:6]}"
    journal = Journal(Path(run_dir) if run_dir is not None else new)
    if not journal.records:
        versions = {"dspex": kernel_version()}
        journal.append(Run(FORMAT, uuid4().hex, identity, budget, versions, waves))
        return journal, waves
    before = journal.records[0]
    assert isinstance(before, Run)
    differs = [part for part in identity if canonical(before.identity.get(part)) != canonical(identity[part])]
    if differs:
        journal.close()
        raise JournalError(
            f"The run folder {journal.folder} belongs to another run: {'; '.join(_difference(before, identity, differs))}. "
            "Give this one a run_dir of its own."
        )
    return journal, before.waves


def _difference(before: Run, identity: dict[str, Any], names: Sequence[str]) -> list[str]:
    """What differs, with both values where they are short."""
    pairs = {name: (str(before.identity.get(name)), str(identity[name])) for name in names}
    return [
        f"{name} ({was} then, {now} now)" if len(was + now) < 60 else f"{name} differs"
        for name, (was, now) in pairs.items()
    ]
