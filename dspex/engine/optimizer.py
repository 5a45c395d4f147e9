"""Optimizer: the base of what improves programs. A subclass is its algorithm; the engine does all the rest."""

import asyncio
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import msgspec

from dspex.app.app import current_app
from dspex.core.candidate import Candidate, Estimate, Shape
from dspex.core.errors import MissingPlugin
from dspex.core.evidence import Keep
from dspex.core.example import Example
from dspex.core.nearest import did_you_mean
from dspex.core.usage import Budget
from dspex.engine.groups import check_group
from dspex.engine.job import Job
from dspex.engine.opening import opened
from dspex.engine.options import Options
from dspex.engine.preparing import constructed, prepared, within
from dspex.engine.progress import ProgressLine
from dspex.engine.quote import Quote
from dspex.engine.setup import Setup
from dspex.engine.told import is_told, told
from dspex.evaluate.report import ProgressBar
from dspex.plugin.catalog import install_hint
from dspex.program.module import Module
from dspex.runtime.callbacks import Emission

M = TypeVar("M", bound=Module)


class Optimizer:
    """Base of optimizers: write `estimate` and `run`, and name in `compile_arguments` what compile takes besides;
    `takes_teachers` says that `teacher=` may be a list.

    Attributes are the constructor's arguments; the engine reads `metric`, `metric_threshold`, `teacher_settings`,
    `num_threads`, `max_errors`, `failure_score`, `prompt_model` and `reflection_lm` where they are set.
    """

    metric: Any = None
    metric_threshold: float | None = None
    teacher_settings: Mapping[str, Any] | None = None
    num_threads: int | None = None
    max_errors: int | None = None
    failure_score: float = 0.0
    compile_arguments: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    takes_teachers: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "compile" in vars(cls):  # of whose own way callbacks hear as well
            cls.compile = told(cls.compile)  # type: ignore[method-assign]

    def estimate(self, shape: Shape) -> Estimate:
        """Bounds of LM calls by role, before anything runs."""
        return Estimate()

    async def run(self, ctx: Any) -> Candidate:
        """The algorithm; `ctx` is a CompileContext."""
        raise NotImplementedError

    def parts(self, train: list[Example], val: list[Example], rng: Any) -> tuple[list[Example], list[Example]]:
        """What `ctx.train` and `ctx.val` are, of what the evidence leaves: the valset is empty where none was given.

        `rng` draws by the run's seed. An example that is in neither is run by no step. Where `compile(group=)` is given, and the valset
        was not, the engine then moves examples so that each group is in one of the two.
        """
        return train, val or train

    @staticmethod
    def whole_groups(
        train: Sequence[Example], val: Sequence[Example], group: Any
    ) -> tuple[list[Example], list[Example]]:
        """Two parts of one set with all of a group, as `start(group=)` names it, in one of them: for who parts before `start`.

        What `parts` makes of a trainset is treated so by the engine. Raises ConfigurationError where a part would be empty.
        """
        return check_group(group).apart(list(train), list(val))

    def finish(self, program: Module, candidate: Candidate) -> None:
        """Give a copy of the student what this candidate's `params` stand for, where the optimizer uses them."""

    def fit(self, shape: Shape, budget: Budget) -> "Optimizer | None":
        """The same with settings so small that its estimate fits (`on_short="fit"`); None where it cannot do with less."""
        return None

    def roles(self) -> dict[str, Mapping[str, Any]]:
        """The settings that programs and questions run under, by role."""
        models = {"prompt": getattr(self, "prompt_model", None), "reflection": getattr(self, "reflection_lm", None)}
        asked = {role: {"lm": lm} if lm is not None else {} for role, lm in models.items()}
        return {"task": {}, "teacher": self.teacher_settings or {}, **asked}

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from another of its class: the constructor's arguments."""
        return constructed(self)

    def get_params(self) -> dict[str, Any]:
        """Its settings by name, as they are now."""
        return dict(vars(self))

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
        if is_told(self):
            return await self._compiled(student, jobs, **options)
        inputs = {"student": student, **options}
        async with Emission(current_app().settings.callbacks, "compile", self, inputs) as emission:
            emission.outputs = compiled = await self._compiled(student, jobs, **options)
        return compiled

    async def _compiled(self, student: M, jobs: list[Job], **options: Any) -> M:
        job = self.start(student, **options)
        jobs.append(job)
        if sys.stderr.isatty():
            sys.stderr.write(f"{type(self).__name__}: {job.quote}. Run folder: {job.run_dir}\n")
        try:
            with ProgressBar(type(self).__name__, ProgressLine(lambda: job.progress)):
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
        teacher: Any = None,
        holdout: Any = "auto",
        keep: Keep = "estimate",
        run_dir: str | Path | None = None,
        fork: str | Path | None = None,
        budget: Budget | None = None,
        controls: bool = False,
        executor: Any = None,
        seed: int = 0,
        objective: Any = "score",
        max_usd_per_call: float | None = None,
        warm_start: Any = None,
        group: Any = None,
        num_threads: int | None = None,
        max_errors: int | None = None,
        **arguments: Any,
    ) -> Job:
        """Begin to compile, and return at once; the student is not touched.

        `valset` is the trainset unless given. `holdout` is set apart for the evidence: "auto" (a fifth, from 100 examples
        on), 0, a fraction or a list. `keep` "estimate" returns what is better by the corrected estimate, "better" only what is
        shown to be, "best" what was chosen, whatever the evidence says, as DSPy does. The same `run_dir` again goes on where a run ended and repeats no finished call; None makes a folder
        below DSPEX_RUNS_DIR. `fork`, the folder of a run with other settings, is copied from: what is still valid is not paid
        for again. `controls` also scores programs that should be worse, with shuffled or empty texts. `objective` chooses
        among the programs that were run on the whole valset: "score", "pareto" (the cheapest of those that are not shown to be
        worse than a dearer one), or a function of mean score, dollars and seconds of a run; `max_usd_per_call` leaves
        dearer ones out. `warm_start` is a saved program or a run's folder, which enters the pool, a file of traces (`.jsonl`), whose
        good runs take the place of a teacher's, or a list of them. `group`, a field of the examples or a function of one, names
        those that belong together: all of a group are held, or none, a valset that is made of the trainset has whole ones, and no traced
        run of a held one is learnt from. `executor`, a plugin's name or an object, runs the evaluations in other processes or on other
        machines; all else stays here, and it is no difference to the run. Raises BudgetExceeded if the estimate (`quote`) does not fit,
        JournalError for a folder of another run.
        """
        return self._begun(
            student,
            Options(
                trainset=trainset,
                valset=valset,
                teacher=teacher,
                holdout=holdout,
                keep=keep,
                run_dir=run_dir,
                fork=fork,
                budget=budget,
                controls=controls,
                executor=executor,
                seed=seed,
                objective=objective,
                max_usd_per_call=max_usd_per_call,
                warm_start=warm_start,
                group=group,
                num_threads=num_threads,
                max_errors=max_errors,
                arguments=arguments,
            ),
        )

    def quote(self, student: Module, *, trainset: Sequence[Example], **options: Any) -> Quote:
        """What `compile` with the same arguments may cost at most; nothing is run or written. Raises as `start` does."""
        known = {name: value for name, value in options.items() if name in Options.__struct_fields__}
        rest = {name: value for name, value in options.items() if name not in known}
        free = msgspec.structs.replace(known.pop("budget", None) or Budget(), on_short="stop")
        asked = Options(trainset=trainset, **known, budget=free, arguments=rest)
        return prepared(self, student, asked).terms.quote

    def within(
        self, setup: Setup, student: Candidate, teachers: Sequence[Candidate], arguments: Mapping[str, Any]
    ) -> Setup:
        """What this optimizer works on inside another's run (`ctx.compile`)."""
        return within(self, setup, student, teachers, arguments)

    def _begun(self, student: Module, options: Options) -> Job:
        made = prepared(self, student, options)
        journal, run = opened(options.run_dir, made.terms)
        setup = msgspec.structs.replace(made.setup, by_candidate=run.waves == "by candidate")
        return Job(setup, journal, options, made.terms.quote, made.notes)


def optimizer_class(name: str, others: Iterable[str] = ()) -> type[Optimizer]:
    """The optimizer that a plugin offers under this name; `others` are names that may have been meant as well.

    Raises MissingPlugin, an AttributeError, that says what to install.
    """
    manager = current_app().plugins
    spec = manager.find("optimizers", name)
    if spec is None:
        why = manager.unknown("optimizers", name, f"dspex.{name}")
        if others and not install_hint("optimizers", name):
            why = f"dspex has no {name!r}.{did_you_mean(name, others)} {why}"
        raise MissingPlugin(why)
    found: Any = spec.load()
    return found  # type: ignore[no-any-return]  # a plugin's class
