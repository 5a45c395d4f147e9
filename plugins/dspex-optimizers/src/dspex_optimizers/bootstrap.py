"""Demonstrations made by running a teacher on training examples and keeping the runs that the metric passes."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from dspex import (
    Candidate,
    ConfigurationError,
    Demo,
    Estimate,
    EvaluationError,
    Example,
    Job,
    Module,
    Optimizer,
    Range,
    Rollout,
    Shape,
)
from dspex_optimizers.checks import alike, at_least
from dspex_optimizers.labeled import choices_of, demo, drawn, labelled


class BootstrapFewShot(Optimizer):
    """The first `max_bootstrapped_demos` training examples, in order, that a teacher gets right, with its own outputs.

    The teacher is the student with labelled demos unless `compile(teacher=)` gives one; what is left of `max_labeled_demos` is
    filled with labelled examples. `metric_threshold` is the least score that passes (None: any above 0), `max_rounds`
    tries an example again at temperature 1, `teacher_settings` are settings for the teacher's runs, such as `{"lm": lm}`.
    Labelled ones are drawn as LabeledFewShot draws them; `by_label=False` takes labels as they come.
    """

    def __init__(  # noqa: PLR0917  DSPy's order
        self,
        metric: Any = None,
        metric_threshold: float | None = None,
        teacher_settings: Mapping[str, Any] | None = None,
        max_bootstrapped_demos: int = 4,
        max_labeled_demos: int = 16,
        max_rounds: int = 1,
        max_errors: int | None = None,
        *,
        by_label: bool = True,
    ) -> None:
        at_least(0, max_bootstrapped_demos=max_bootstrapped_demos, max_labeled_demos=max_labeled_demos)
        at_least(1, max_rounds=max_rounds, max_errors=max_errors)
        self.metric = metric
        self.metric_threshold = metric_threshold
        self.teacher_settings = teacher_settings
        self.max_bootstrapped_demos = max_bootstrapped_demos
        self.max_labeled_demos = max_labeled_demos
        self.max_rounds = max_rounds
        self.max_errors = max_errors
        self.by_label = by_label

    def compile(self, student: Any, *, trainset: Sequence[Example], **options: Any) -> Any:
        """As of any optimizer; at `max_errors` the error behind the last failure is raised, as in DSPy."""
        try:
            return super().compile(student, trainset=trainset, **options)
        except EvaluationError as error:
            raise (error.__cause__ or error) from None

    async def acompile(self, student: Any, *, trainset: Sequence[Example], **options: Any) -> Any:
        """As `compile`, on the running loop."""
        try:
            return await super().acompile(student, trainset=trainset, **options)
        except EvaluationError as error:
            raise (error.__cause__ or error) from None

    def start(
        self, student: Module, *, trainset: Sequence[Example], teacher: Module | None = None, **options: Any
    ) -> Job:
        """Begin to compile, and return at once. Raises ConfigurationError for a compiled student or an unlike teacher."""
        if getattr(student, "_compiled", False):
            raise ConfigurationError(
                f"{type(self).__name__} starts from a program that is not compiled: pass student.reset_copy(), or give the "
                "compiled one as teacher=."
            )
        alike(student, teacher)
        return super().start(student, trainset=trainset, teacher=teacher, **options)

    def estimate(self, shape: Shape) -> Estimate:
        """At most the whole trainset is run, once a round."""
        most = shape.train * shape.calls_per_run * self.max_rounds if self.max_bootstrapped_demos else 0
        return Estimate(teacher=Range(0, most))

    async def run(self, ctx: Any) -> Candidate:
        """One bootstrap over the trainset as it is."""
        async with ctx.phase("bootstrap"):
            return await self.bootstrapped(ctx, ctx.train, self.max_bootstrapped_demos, "bootstrap")

    async def bootstrapped(
        self, ctx: Any, train: Sequence[Example], most: int, label: str, meta: Mapping[str, Any] | None = None
    ) -> Candidate:
        """The student with up to `most` bootstrapped demos, and labelled ones; `label` names its streams of draws."""
        bare = ctx.student.with_demos(dict.fromkeys(ctx.student.predictors, ()))
        got = await self.collected(ctx, train, most, label) if most else []
        used = {rollout.example for rollout in got}
        rest = [one for one in train if ctx.key_of(one) not in used]
        demos, chooses = {}, choices_of(ctx) if self.by_label else {}
        for path in bare.predictors:
            own = tuple(one for rollout in got if (one := chosen(rollout, path)) is not None)
            room = max(0, min(self.max_labeled_demos - len(own), len(rest)))
            shown = [one.fields for one in own]
            more = drawn(rest, room, ctx.rng(f"labels/{label}/{path}"), chooses.get(path, ()), shown)
            demos[path] = own + tuple(demo(ctx, one) for one in more)
        made: Candidate = ctx.consider(bare.with_demos(demos), label, meta=meta or {})
        return made

    async def collected(self, ctx: Any, train: Sequence[Example], most: int, label: str) -> list[Rollout]:
        """The first `most` runs of the teacher that pass, in the order of `train`."""
        teacher = ctx.teacher or ctx.student.with_demos(dict.fromkeys(ctx.student.predictors, ()))
        if self.max_labeled_demos and not any(state.demos for state in teacher.predictors.values()):
            rng = ctx.rng(f"teacher/{label}")
            teacher = labelled(ctx, teacher, self.max_labeled_demos, train, rng, by_label=self.by_label)
        # Without a metric every run passes, and where all are wanted all are run: none is run ahead.
        ahead = self.metric is not None and most < len(train)
        got: list[Rollout] = await ctx.collect(teacher, train, most, rounds=self.max_rounds, speculate=ahead)
        return got


def chosen(rollout: Rollout, path: str) -> Demo | None:
    """A demo of one of the calls of this predictor in a run: the only one, or the last or, as often, an earlier one."""
    steps = [step for step in rollout.trace or () if step.predictor == path]
    if not steps:
        return None
    draws = random.Random(f"{rollout.example}/{path}/{len(steps)}")
    step = draws.choice(steps[:-1]) if len(steps) > 1 and draws.random() < 0.5 else steps[-1]
    return Demo({**step.inputs, **step.outputs}, augmented=True, origin=rollout.example)
