"""Weights instead of prompts: models trained on the good runs of a teacher."""

from collections.abc import Mapping, Sequence
from typing import Any

from dspex import (
    LM,
    Candidate,
    ConfigurationError,
    Estimate,
    EvaluationError,
    Example,
    Failure,
    FineTuneSpec,
    Job,
    Module,
    Optimizer,
    Range,
    Rollout,
    Shape,
    settings,
)
from dspex_optimizers.checks import alike, at_least

Group = tuple[Any, tuple[str, ...]]  # a model, and the predictors whose calls it is trained on


class BootstrapFinetune(Optimizer):
    """Runs the teachers on the whole trainset, and trains the student's models on the runs that the metric passes (2407.10930).

    `multitask`: one training a model, on the calls of all its predictors; else one a predictor. `train_kwargs`, else those of the LM, go to the provider,
    `adapter` writes the rows; both may be mappings by LM. `exclude_demos` leaves demonstrations out of the rows and of the
    program. `usd` is the most that all trainings together may cost, for a budget in dollars where the provider gives no
    estimate. `compile(teacher=)` takes one or several, else the student teaches itself.
    """

    takes_teachers = True

    def __init__(  # noqa: PLR0917  DSPy's order
        self,
        metric: Any = None,
        multitask: bool = True,
        train_kwargs: Mapping[Any, Any] | None = None,
        adapter: Any = None,
        exclude_demos: bool = False,
        num_threads: int | None = None,
        *,
        usd: float | None = None,
    ) -> None:
        at_least(1, num_threads=num_threads)
        if usd is not None and not usd >= 0:
            raise ConfigurationError(f"usd={usd!r}: what all trainings together may cost at most, from 0 on.")
        self.metric = metric
        self.multitask = multitask
        self.train_kwargs = train_kwargs or {}
        self.adapter = adapter
        self.exclude_demos = exclude_demos
        self.num_threads = num_threads
        self.usd = usd

    def compile(self, student: Any, trainset: Sequence[Example], teacher: Any = None, **options: Any) -> Any:
        """As of any optimizer, in DSPy's order."""
        return super().compile(student, trainset=trainset, teacher=teacher, **options)

    async def acompile(self, student: Any, trainset: Sequence[Example], teacher: Any = None, **options: Any) -> Any:
        """As `compile`, on the running loop."""
        return await super().acompile(student, trainset=trainset, teacher=teacher, **options)

    def start(self, student: Module, trainset: Sequence[Example], teacher: Any = None, **options: Any) -> Job:
        """Begin to compile, and return at once. Raises ConfigurationError for an unlike teacher."""
        for one in teacher if isinstance(teacher, list | tuple) else [teacher]:
            alike(student, one)
        return super().start(student, trainset=trainset, teacher=teacher, **options)

    def estimate(self, shape: Shape) -> Estimate:
        """Each teacher on each training example."""
        runs = shape.train * shape.calls_per_run * max(1, shape.teachers)
        return Estimate(teacher=Range(0, runs), usd=self.usd or 0.0)

    async def run(self, ctx: Any) -> Candidate:
        """The runs, the rows, the trainings side by side."""
        groups = self.groups(ctx)
        share = None if self.usd is None else self.usd / len(groups)
        for lm, _ in groups:
            await ctx.check_finetune(lm, usd=share, train_kwargs=self.given(lm))
        rollouts = await self.collected(ctx)
        specs = [self.spec(ctx, place, group, rollouts) for place, group in enumerate(groups)]
        async with ctx.phase("fine-tuning", total=len(groups)):
            trainings = (ctx.finetune(spec, lm=lm, usd=share) for spec, (lm, _) in zip(specs, groups, strict=True))
            made = await ctx.gather(*trainings)
        failures = [one.error for one in made if isinstance(one, Failure)]
        if failures:
            raise EvaluationError(f"{len(failures)} of {len(made)} trainings failed: {'; '.join(failures)}.")
        references = {path: {"lm": one} for one, (_, paths) in zip(made, groups, strict=True) for path in paths}
        bare = ctx.student.with_demos(dict.fromkeys(references, ())) if self.exclude_demos else ctx.student
        return ctx.consider(bare.with_params(references), "fine-tuned")  # type: ignore[no-any-return]  # it is what was given

    def groups(self, ctx: Any) -> list[Group]:
        """What is trained. Raises ConfigurationError where a predictor has no model."""
        found: list[tuple[Any, list[str]]] = []
        for path, predictor in ctx.program(ctx.student).named_predictors():
            lm = predictor.lm or settings.lm
            if lm is None:
                raise ConfigurationError(f"The predictor {path!r} has no model to train: program.set_lm(...).")
            if lm.finetuning_model is not None:
                provider, _, _ = lm.model.rpartition("/")
                lm = lm.copy(model=f"{provider}/{lm.finetuning_model.rpartition('/')[2]}")
            same = [paths for known, paths in found if known.identity == lm.identity] if self.multitask else []
            if same:
                same[0].append(path)
            else:
                found.append((lm, [path]))
        return [(lm, tuple(paths)) for lm, paths in found]

    async def collected(self, ctx: Any) -> list[Rollout]:
        """The good runs of all teachers, in the order of the trainset. Raises EvaluationError if there are none."""
        teachers = ctx.teachers or (ctx.student,)
        async with ctx.phase("runs", total=len(teachers) * len(ctx.train)):
            # All are wanted, so none is run ahead; a demonstration made of an example is hidden from it.
            wanted = (ctx.collect(one, ctx.train, len(ctx.train), speculate=False) for one in teachers)
            rollouts = [one for got in await ctx.gather(*wanted) for one in got]
        if not rollouts:
            raise EvaluationError("No run passed the metric, so there is nothing to train on.")
        return rollouts

    def spec(self, ctx: Any, place: int, group: Group, rollouts: Sequence[Rollout]) -> FineTuneSpec:
        """The rows of one training, shuffled: what the student asks, and what a teacher answered."""
        lm, paths = group
        program = dict(ctx.program(ctx.student).named_predictors())
        rows, forms = [], set()
        for rollout in rollouts:
            for step in rollout.trace or ():
                if step.predictor not in paths:
                    continue
                predictor = program[step.predictor]
                adapter = by_lm(self.adapter, lm) or predictor.adapter_choice(lm).adapter
                demos = [] if self.exclude_demos else [one for one in predictor.demos if not says(one, step.inputs)]
                forms.add(getattr(adapter, "finetune_format", "chat"))
                rows.append(adapter.format_finetune_data(predictor.signature, demos, step.inputs, step.outputs))
        if not rows:
            raise EvaluationError(f"No good run has a call of {', '.join(paths)}, so there is nothing to train on.")
        if len(forms) > 1:
            raise ConfigurationError(
                f"Rows of several forms ({', '.join(sorted(forms))}) are no training: name adapter=."
            )
        ctx.rng(f"rows/{place}").shuffle(rows)
        return FineTuneSpec(tuple(rows), forms.pop() if forms else "chat", self.given(lm))

    def given(self, lm: Any) -> Mapping[str, Any]:
        """What the provider is told of a training: the optimizer's own, else what the LM has."""
        return by_lm(self.train_kwargs, lm) or lm.train_kwargs  # type: ignore[no-any-return]  # a mapping of either


def by_lm(given: Any, lm: Any) -> Any:
    """What a mapping by LM has for this one; anything else stands for all of them."""
    is_by_lm = isinstance(given, Mapping) and any(isinstance(one, LM) for one in given)
    return given.get(lm) if is_by_lm else given


def says(demo: Any, inputs: Mapping[str, Any]) -> bool:
    """Whether a demonstration has these inputs, and so the answer that is to be learned."""
    return all(demo.get(name) == value for name, value in inputs.items())
