"""StrategyRace: several ways to a better program, raced under one budget of calls."""

import copy
import random
from collections.abc import Mapping, Sequence
from typing import Any

from dspex import (
    Budget,
    Candidate,
    ConfigurationError,
    Estimate,
    Example,
    Job,
    Module,
    NearestDemos,
    Optimizer,
    Quote,
    Range,
    Shape,
)
from dspex_optimizers.arms import (
    Arm,
    Pool,
    drawn,
    has_labels,
    instructed,
    is_direct,
    labelled_pool,
    nearest,
    run_pool,
)
from dspex_optimizers.checks import at_least
from dspex_optimizers.nearness import KINDS, kinds_for

PROPOSALS = 3
LEAST_SPLIT, MOST_VALIDATION = 6, 100
RUN_SHARE = 4  # at most a fourth of the calls goes into runs to demonstrate


class StrategyRace(Optimizer):
    """The best of several strategies on the valset, for at most `calls` calls: what `dspex.optimize` runs.

    First the families run against each other: the program as it is, the demonstrations nearest to each call, and sets of them
    drawn at random; the demonstrations are the training examples, or the program's own good runs where its steps have fields
    that no example has. Then the leading family runs in other sizes or draws; and with a `prompt_model` the leader with new
    instructions. What has clearly lost is dropped (`race_z`). A third of the trainset, 100 at most, is the valset where none
    is given.
    """

    def __init__(
        self,
        metric: Any,
        calls: int = 300,
        *,
        prompt_model: Any = None,
        num_threads: int | None = None,
        max_errors: int | None = None,
        race_z: float = 1.64,
    ) -> None:
        if metric is None:
            raise ConfigurationError("A race needs a metric to tell programs apart: metric=...")
        at_least(1, calls=calls, num_threads=num_threads, max_errors=max_errors)
        self.metric = metric
        self.prompt_model = prompt_model
        self.num_threads = num_threads
        self.max_errors = max_errors
        self.race_z = race_z
        self._calls = calls  # as a budget, and no part of what a run is

    def start(self, student: Module, *, trainset: Sequence[Example], **options: Any) -> Job:
        """Begin, and return at once."""
        return super().start(student, **parted(trainset, options))

    def quote(self, student: Module, *, trainset: Sequence[Example], **options: Any) -> Quote:
        """What it may cost at most."""
        return super().quote(student, **parted(trainset, options))

    def estimate(self, shape: Shape) -> Estimate:
        """As many calls as it was given, and at least the program as it is on the valset."""
        asked = PROPOSALS * shape.predictors if self.prompt_model is not None else 0
        runs = max(shape.val * shape.calls_per_run, self._calls - asked)
        return Estimate(task=Range(shape.val, runs), prompt=Range(0, asked))

    def fit(self, shape: Shape, budget: Budget) -> "StrategyRace | None":
        """The same for what a budget of calls leaves beside the look at held examples."""
        if budget.calls is None:
            return None
        smaller = copy.copy(self)
        smaller._calls = budget.calls - 2 * shape.held * shape.calls_per_run
        return smaller

    async def run(self, ctx: Any) -> Candidate:
        """Families, variations of the one that leads, instructions."""
        search = Search(ctx, self._calls, self.race_z)
        start = [Arm("as it is", ctx.consider(ctx.student, "as it is"))]
        async with ctx.phase("families"):
            pool = await demonstrations(ctx, search)
            kinds = kinds_for(ctx.train, has_labels(ctx)) if pool else []
            await search.race(start + (families(ctx, pool, kinds) if pool else []))
        async with ctx.phase("variations"):
            await search.race(variations(ctx, pool, kinds, search.leader) if pool else [])
        if self.prompt_model is not None and search.room > 1:
            async with ctx.phase("instructions"):
                arms = await instructed(ctx, search.leader.candidate, min(PROPOSALS, search.room - 1))
                search.pay(len(arms) * len(ctx.predictors))
                await search.race(arms)
        return search.leader.candidate

    def finish(self, program: Module, candidate: Candidate) -> None:
        """Give each predictor the selector that its candidate names."""
        for path, predictor in program.named_predictors():
            found: Mapping[str, Any] | None = candidate.predictors[path].params.get("nearest_demos")
            if found is not None:
                predictor.demo_selector = NearestDemos.from_state(found)


class Search:
    """The arms that lead, and the calls that are left."""

    def __init__(self, ctx: Any, calls: int, z: float) -> None:
        self._ctx = ctx
        self._z = z
        self._left = calls
        self._run = len(ctx.predictors)  # the most calls that one run has taken
        self._paid: dict[str, int] = {}
        self._leaders: list[Arm] = []

    @property
    def leader(self) -> Arm:
        """The best so far."""
        return self._leaders[0]

    @property
    def room(self) -> int:
        """How many more candidates may be run on the whole valset."""
        return max(0, self._left // (self._run * max(1, len(self._ctx.val))))

    @property
    def left(self) -> int:
        """Calls that are not spent."""
        return self._left

    def pay(self, calls: int) -> None:
        """Note calls that were spent."""
        self._left -= calls

    async def race(self, arms: Sequence[Arm]) -> None:
        """Run as many of these, the first ones, as there is room for, against the two that lead."""
        entered = [*self._leaders, *arms[: self.room if self._leaders else max(1, self.room)]]
        if len(entered) == len(self._leaders):
            return
        race = await self._ctx.race([arm.candidate for arm in entered], self._ctx.val, z=self._z, keep=2)
        for arm, scores in zip(entered, race.scores, strict=True):
            fresh = scores.rows[self._paid.get(arm.candidate.key, 0) :]
            self._paid[arm.candidate.key] = len(scores)
            self.pay(sum(row.usage.calls for row in fresh))
            self._run = max([self._run, *(row.usage.calls for row in fresh)])
        whole = [(arm, s.mean) for arm, s in zip(entered, race.scores, strict=True) if len(s) == len(self._ctx.val)]
        self._leaders = [arm for arm, _ in sorted(whole, key=lambda one: -one[1])][:2]


async def demonstrations(ctx: Any, search: Search) -> Pool:
    """What there is to show: the examples, or good runs; empty where no run is good."""
    if is_direct(ctx):
        return labelled_pool(ctx)
    count = min(len(ctx.train), search.left // (RUN_SHARE * len(ctx.predictors)))
    runs = await ctx.collect(ctx.teacher or ctx.student, ctx.train[:count], count, speculate=False)
    search.pay(count * len(ctx.predictors))
    pool = run_pool(ctx, runs)
    return pool if all(pool.values()) else {}


def families(ctx: Any, pool: Pool, kinds: Sequence[str]) -> list[Arm]:
    """One or two of each family, the likelier ones first."""
    first, *other = kinds
    return [
        nearest(ctx, pool, 4, first),
        drawn(ctx, pool, 8, 0),
        *(nearest(ctx, pool, 4, kind) for kind in other),
        drawn(ctx, pool, 4, 1),
        drawn(ctx, pool, 8, 2),
    ]


def variations(ctx: Any, pool: Pool, kinds: Sequence[str], leader: Arm) -> list[Arm]:
    """More of the leading family: other numbers of demonstrations, or other draws."""
    if leader.family != "nearest":
        return [drawn(ctx, pool, count, 3 + draw) for draw, count in enumerate((8, 16, 8, 4, 8, 8))]
    used = leader.candidate.predictors[next(iter(pool))].params["nearest_demos"]["vectorizer"]
    kind = next((kind for kind in kinds if dict(KINDS[kind]) == used), kinds[0])
    return [nearest(ctx, pool, count, kind) for count in (8, 2, 6, 12)]


def parted(trainset: Sequence[Example], options: Mapping[str, Any]) -> dict[str, Any]:
    """The data as compile takes them; a valset that is not given is drawn from the trainset."""
    whole = list(trainset)
    if options.get("valset") is not None or len(whole) < LEAST_SPLIT:
        return {**options, "trainset": whole}
    random.Random(f"valset/{options.get('seed', 0)}").shuffle(whole)
    count = min(MOST_VALIDATION, len(whole) // 3)
    return {**options, "trainset": whole[count:], "valset": whole[:count]}
