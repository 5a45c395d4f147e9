"""Demonstrations chosen for each call among runs that were made once."""

from collections.abc import Callable, Sequence
from typing import Any

from dspex import (
    KNN,
    Candidate,
    ConfigurationError,
    Demo,
    Example,
    Job,
    Module,
    NearestDemos,
    Rollout,
)
from dspex_optimizers.bootstrap import BootstrapFewShot, chosen
from dspex_optimizers.checks import at_least
from dspex_optimizers.labeled import demo


class KNNFewShot(BootstrapFewShot):
    """For each call the `k` examples most like it as demonstrations, the nearest last, with a teacher's own outputs.

    The teacher runs on the whole trainset once, at compile; a call costs one embedding, and none where `vectorizer` needs no
    model: None counts characters, else it is a `dspex.Embedder` or any function of a list of texts. An example whose run
    fails the metric is shown as it is labelled. `few_shot_bootstrap_args` are BootstrapFewShot's: of the `k`, at most
    `max_bootstrapped_demos` are runs, and labelled ones fill up to `max_labeled_demos`. With `max_bootstrapped_demos=0`
    nothing is run.
    """

    def __init__(
        self,
        k: int,
        trainset: Sequence[Example],
        vectorizer: Callable[[list[str]], Any] | None = None,
        **few_shot_bootstrap_args: Any,
    ) -> None:
        super().__init__(**few_shot_bootstrap_args)
        at_least(1, k=k)
        if vectorizer is not None and not callable(vectorizer):
            raise ConfigurationError(
                f"vectorizer={vectorizer!r:.80}: a dspex.Embedder, or a function of a list of texts."
            )
        self.k = k
        self.vectorizer = vectorizer
        self._trainset = list(trainset)

    @property
    def KNN(self) -> KNN:  # noqa: N802  DSPy's name
        """What finds the nearest examples of the trainset, for a look at them."""
        return KNN(self.k, self._trainset, NearestDemos(self.k, self.vectorizer).vectorizer)

    def compile(self, student: Any, *, trainset: Sequence[Example] | None = None, **options: Any) -> Any:
        """As of any optimizer; a trainset takes the place of the constructor's."""
        return super().compile(student, trainset=self._own(trainset), **options)

    async def acompile(self, student: Any, *, trainset: Sequence[Example] | None = None, **options: Any) -> Any:
        """As `compile`, on the running loop."""
        return await super().acompile(student, trainset=self._own(trainset), **options)

    def start(self, student: Module, *, trainset: Sequence[Example] | None = None, **options: Any) -> Job:
        """Begin to compile, and return at once."""
        return super().start(student, trainset=self._own(trainset), **options)

    def _own(self, trainset: Sequence[Example] | None) -> Sequence[Example]:
        return self._trainset if trainset is None else trainset

    async def run(self, ctx: Any) -> Candidate:
        """All runs in one wave; which are shown is settled at each call."""
        async with ctx.phase("bootstrap", total=len(ctx.train)):
            runs = await self.collected(ctx, ctx.train, len(ctx.train), "knn") if self.max_bootstrapped_demos else []
        demos = {path: self.pool(ctx, runs, path) for path in ctx.student.predictors}
        named = {"nearest_demos": self.selector().identity}
        shown = ctx.student.with_demos(demos).with_params(dict.fromkeys(demos, named))
        made: Candidate = ctx.consider(shown, "nearest")
        return made

    def pool(self, ctx: Any, runs: Sequence[Rollout], path: str) -> tuple[Demo, ...]:
        """The demos of a predictor to choose from: runs, and labelled examples that may stand in their place."""
        made = [one for rollout in runs if (one := chosen(rollout, path)) is not None]
        # Where all the nearest may be runs, the labelled form of an example that has one is never shown.
        shown = {one.origin for one in made} if self.max_bootstrapped_demos >= self.k else set()
        labelled = ctx.train if self.max_labeled_demos else ()
        return (*made, *(demo(ctx, one) for one in labelled if ctx.key_of(one) not in shown))

    def finish(self, program: Module, candidate: Candidate) -> None:
        """Give each predictor whose candidate names this optimizer's selector one with its vectorizer, which may be a function."""
        for path, predictor in program.named_predictors():
            selector = self.selector()
            if candidate.predictors[path].params.get("nearest_demos") == selector.identity:
                predictor.demo_selector = selector

    def selector(self) -> NearestDemos:
        """What chooses at each call."""
        return NearestDemos(self.k, self.vectorizer, self.max_bootstrapped_demos, self.max_labeled_demos)
