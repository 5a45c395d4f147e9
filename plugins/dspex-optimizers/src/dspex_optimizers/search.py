"""Random search: many sets of demonstrations, each scored on the validation examples."""

import math
from collections.abc import Container, Mapping
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from dspex import Budget, Candidate, ConfigurationError, Estimate, Range, Shape
from dspex_optimizers.bootstrap import BootstrapFewShot
from dspex_optimizers.checks import at_least, not_negative, racing
from dspex_optimizers.fitting import fitted
from dspex_optimizers.labeled import labelled

BARE, LABELLED, UNSHUFFLED = -3, -2, -1


class BootstrapFewShotWithRandomSearch(BootstrapFewShot):
    """The best of several programs on the valset: without demos, labelled, bootstrapped, and bootstrapped from shuffled data.

    The last kind, `num_candidate_programs` of them, have 1 to `max_bootstrapped_demos` bootstrapped demos each; with
    `max_bootstrapped_demos=0` each has another draw of `max_labeled_demos` labelled ones. `compile(restrict=)` takes the
    seeds to try, -3, -2, -1 and from 0 on. `stop_at_score`, in per cent, ends the search at the first one that reaches it.
    `race_z` drops candidates that have clearly lost before they were run on all examples; None runs all on all.
    """

    compile_arguments = MappingProxyType({"restrict": None, "labeled_sample": True})

    def __init__(  # noqa: PLR0917  DSPy's order
        self,
        metric: Any,
        teacher_settings: Mapping[str, Any] | None = None,
        max_bootstrapped_demos: int = 4,
        max_labeled_demos: int = 16,
        max_rounds: int = 1,
        num_candidate_programs: int = 16,
        num_threads: int | None = None,
        max_errors: int | None = None,
        stop_at_score: float | None = None,
        metric_threshold: float | None = None,
        race_z: float | None = 2.4,
        *,
        by_label: bool = True,
    ) -> None:
        if metric is None:
            raise ConfigurationError("A search needs a metric to tell programs apart: metric=...")
        super().__init__(
            metric,
            metric_threshold,
            teacher_settings,
            max_bootstrapped_demos,
            max_labeled_demos,
            max_rounds,
            max_errors,
            by_label=by_label,
        )
        at_least(0, num_candidate_programs=num_candidate_programs)
        at_least(1, num_threads=num_threads)
        not_negative(stop_at_score=0 if stop_at_score is None else stop_at_score)
        racing(race_z)
        self.num_candidate_programs = num_candidate_programs
        self.num_threads = num_threads
        self.stop_at_score = stop_at_score
        self.race_z = race_z

    def estimate(self, shape: Shape) -> Estimate:
        """Each candidate on each validation example, and the bootstraps."""
        seeds = self.seeds(shape.arguments)
        bootstraps = super().estimate(shape).teacher.high * sum(seed >= UNSHUFFLED for seed in seeds)
        runs = len(seeds) * shape.val * shape.calls_per_run
        return Estimate(task=Range(0, runs), teacher=Range(0, bootstraps))

    def fit(self, shape: Shape, budget: Budget) -> "BootstrapFewShotWithRandomSearch | None":
        """With as many candidates as the budget covers; None where `restrict` says which there are."""
        if shape.arguments.get("restrict") is not None:
            return None
        return fitted(self, shape, budget, num_candidate_programs=range(self.num_candidate_programs, -1, -1))

    def seeds(self, arguments: Mapping[str, Any]) -> list[int]:
        """Those to try. Raises ConfigurationError where none is left."""
        allowed = arguments.get("restrict")
        if isinstance(allowed, str) or not isinstance(allowed, Container | None):
            raise ConfigurationError(f"restrict={allowed!r:.80}: a list of seeds, from -3 on.")
        seeds = [seed for seed in range(BARE, self.num_candidate_programs) if allowed is None or seed in allowed]
        if not seeds:
            raise ConfigurationError(f"restrict={allowed!r} leaves no seed of -3 to {self.num_candidate_programs - 1}.")
        return seeds

    async def run(self, ctx: Any) -> Candidate:
        """Make all candidates side by side, then race them."""
        seeds = self.seeds(ctx.arguments)
        if self.stop_at_score is not None:
            async with ctx.phase("search", total=len(seeds) * len(ctx.val)):
                return await self.first_good(ctx, seeds, self.stop_at_score)
        async with ctx.phase("bootstrap"):
            candidates = await ctx.gather(*(self.candidate(ctx, seed) for seed in seeds))
        async with ctx.phase("search", total=len(candidates) * len(ctx.val)):
            race = await ctx.race(candidates, ctx.val, z=math.inf if self.race_z is None else self.race_z)
        winner: Candidate = race.winner
        return winner

    async def candidate(self, ctx: Any, seed: int) -> Candidate:
        """The program of one seed."""
        label, meta = f"seed {seed}", {"seed": seed}
        bare = ctx.student.with_demos(dict.fromkeys(ctx.student.predictors, ()))
        if seed == BARE:
            return ctx.consider(bare, label, meta=meta)  # type: ignore[no-any-return]  # it is what was given
        if seed == LABELLED:
            rng = ctx.rng(label) if ctx.arguments["labeled_sample"] else None
            made = labelled(ctx, bare, self.max_labeled_demos, ctx.train, rng, by_label=self.by_label)
            return ctx.consider(made, label, meta=meta)  # type: ignore[no-any-return]  # it is what was given
        train, most = list(ctx.train), self.max_bootstrapped_demos
        if seed != UNSHUFFLED:
            ctx.rng(f"shuffle/{seed}").shuffle(train)
            most = most and ctx.rng(f"size/{seed}").randint(1, most)
        return await self.bootstrapped(ctx, train, most, label, meta)

    async def first_good(self, ctx: Any, seeds: list[int], enough: float) -> Candidate:
        """Make and score one after another until one is good enough; else the best, the first of equals."""
        tried: list[tuple[float, Candidate]] = []
        for seed in seeds:
            one = await self.candidate(ctx, seed)
            tried.append(((await ctx.evaluate(one, ctx.val)).mean, one))
            if 100 * tried[-1][0] >= enough:
                break
        return max(tried, key=itemgetter(0))[1]
