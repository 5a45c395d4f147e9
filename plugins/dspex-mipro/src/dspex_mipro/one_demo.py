"""One demonstration a predictor, by search: there for programs that use it."""

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import dspex
from dspex import Budget, Candidate, ConfigurationError, Estimate, Example, Job, Module, Optimizer, Range, Shape
from dspex_mipro.checks import alike, at_least
from dspex_mipro.search import Schedule, Search
from dspex_mipro.space import Axis, Space


class BootstrapFewShotWithOptuna(Optimizer):
    """Bootstraps once, and looks for the one demonstration of each predictor that does best together with the others'.

    `compile(max_demos=)` is the number of bootstrapped demonstrations to choose from, `max_bootstrapped_demos` where it is
    not given; labelled ones fill up to `max_labeled_demos`. Each of `num_candidate_programs` trials runs on the whole valset,
    and so does the student. For most programs BootstrapFewShotWithRandomSearch and MIPROv2 are better.
    """

    compile_arguments = MappingProxyType({"max_demos": None})

    def __init__(  # noqa: PLR0917  DSPy's order
        self,
        metric: Any,
        teacher_settings: Mapping[str, Any] | None = None,
        max_bootstrapped_demos: int = 4,
        max_labeled_demos: int = 16,
        max_rounds: int = 1,
        num_candidate_programs: int = 16,
        num_threads: int | None = None,
    ) -> None:
        if metric is None:
            raise ConfigurationError("A search needs a metric to tell programs apart: metric=...")
        at_least(0, max_bootstrapped_demos=max_bootstrapped_demos, max_labeled_demos=max_labeled_demos)
        at_least(1, max_rounds=max_rounds, num_candidate_programs=num_candidate_programs, num_threads=num_threads)
        self.metric = metric
        self.teacher_settings = teacher_settings
        self.max_bootstrapped_demos = max_bootstrapped_demos
        self.max_labeled_demos = max_labeled_demos
        self.max_rounds = max_rounds
        self.num_candidate_programs = num_candidate_programs
        self.num_threads = num_threads

    def start(
        self, student: Module, *, trainset: Sequence[Example], teacher: Module | None = None, **options: Any
    ) -> Job:
        """Begin to compile, and return at once. Raises ConfigurationError for an unlike teacher."""
        alike(student, teacher)
        return super().start(student, trainset=trainset, teacher=teacher, **options)

    def most(self, arguments: Mapping[str, Any]) -> int:
        """Bootstrapped demonstrations to choose from. Raises ConfigurationError for what is no number."""
        given = arguments.get("max_demos")
        at_least(0, max_demos=given)
        return self.max_bootstrapped_demos if given is None else int(given)

    def estimate(self, shape: Shape) -> Estimate:
        """At most the whole trainset, once a round; then each trial, and the student, on the valset."""
        tries = shape.train * self.max_rounds if self.most(shape.arguments) else 0
        runs = shape.val * (1 + self.num_candidate_programs)
        return Estimate(task=Range(0, runs * shape.calls_per_run), teacher=Range(0, tries * shape.calls_per_run))

    def fit(self, shape: Shape, budget: Budget) -> "BootstrapFewShotWithOptuna | None":
        """With as many trials as the budget covers."""
        if budget.calls is None:
            return None
        whole = self.estimate(shape)
        left = budget.calls - whole.teacher.high - shape.evidence_calls
        trials = left // (shape.val * shape.calls_per_run) - 1
        smaller = copy.copy(self)
        smaller.num_candidate_programs = max(1, min(self.num_candidate_programs, trials))
        return smaller

    async def run(self, ctx: Any) -> Candidate:
        """The bootstrap, then the search over its demonstrations."""
        bootstrap = dspex.BootstrapFewShot(
            self.metric,
            teacher_settings=self.teacher_settings,
            max_bootstrapped_demos=self.most(ctx.arguments),
            max_labeled_demos=self.max_labeled_demos,
            max_rounds=self.max_rounds,
        )
        async with ctx.phase("bootstrap"):
            made = await ctx.compile(bootstrap, ctx.student, teacher=ctx.teacher, label="bootstrap")
        bare = ctx.student.with_demos(dict.fromkeys(ctx.student.predictors, ()))
        axes = [
            Axis(path, tuple((demo,) for demo in state.demos), is_demos=True)
            for path, state in made.predictors.items()
            if state.demos
        ]
        trials = self.num_candidate_programs if axes else 0
        async with ctx.phase("search", total=len(ctx.val) * (1 + trials)):
            return await Search(ctx, Space(bare, tuple(axes)), Schedule(trials)).best()
