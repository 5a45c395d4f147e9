"""StrategyRace: several ways to a better program, raced under one budget of calls."""

import copy
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from dspex import (
    Budget,
    Candidate,
    ConfigurationError,
    Estimate,
    EvaluationError,
    Example,
    Job,
    Module,
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
from dspex_optimizers.calibration import LabelCalibration
from dspex_optimizers.checks import at_least, racing
from dspex_optimizers.leaders import Leaders, Maker
from dspex_optimizers.nearness import KINDS, answers_of, kinds_for, texts_of
from dspex_optimizers.weighing import Weighing, can_weigh

PROPOSALS = 3
CALIBRATION = SETTLING = 2  # candidates' worth of calls
LEAST_SPLIT, MOST_VALIDATION = 6, 100
LEAST_VALIDATION, COMPARED = 16, 9  # examples, and candidates that the calls are to suffice for
RUN_SHARE = 4  # at most a fourth of the calls goes into runs to demonstrate


class StrategyRace(Optimizer):
    """The best of several strategies on the valset, for at most `calls` calls: what `dspex.optimize` runs.

    First the families run against each other: the program as it is, the demonstrations nearest to each call, and sets of them
    drawn at random; the demonstrations are the training examples, or the program's own good runs where its steps have fields
    that no example has. Then the leading family runs in other sizes or draws, the leader with its labels calibrated
    (LabelCalibration), and with a `prompt_model` the leader with new instructions. What has clearly lost is dropped
    (`race_z`; None drops nothing). A third of the trainset, 100 at most, is set apart where no valset is given, and as much of
    it is the valset as nine candidates can be run on.
    """

    def __init__(
        self,
        metric: Any,
        calls: int = 300,
        *,
        prompt_model: Any = None,
        num_threads: int | None = None,
        max_errors: int | None = None,
        race_z: float | None = 1.64,
    ) -> None:
        if metric is None:
            raise ConfigurationError("A race needs a metric to tell programs apart: metric=...")
        at_least(1, calls=calls, num_threads=num_threads, max_errors=max_errors)
        racing(race_z)
        self.metric = metric
        self.prompt_model = prompt_model
        self.num_threads = num_threads
        self.max_errors = max_errors
        self.race_z = race_z
        self._calls = calls  # as a budget, and no part of what a run is
        self._predictors = 1  # of the student at hand

    def start(self, student: Module, *, trainset: Sequence[Example], **options: Any) -> Job:
        """Begin to compile, and return at once."""
        return super(StrategyRace, self._of(student)).start(student, trainset=trainset, **options)

    def quote(self, student: Module, *, trainset: Sequence[Example], **options: Any) -> Quote:
        """What `compile` with the same arguments may cost at most."""
        return super(StrategyRace, self._of(student)).quote(student, trainset=trainset, **options)

    def _of(self, student: Any) -> "StrategyRace":
        planned = copy.copy(self)
        planned._predictors = (
            max(1, len(student.predictors())) if isinstance(student, Module) else 1
        )  # `start` refuses it
        return planned

    def parts(self, train: list[Example], val: list[Example], rng: Any) -> tuple[list[Example], list[Example]]:
        """A valset out of the trainset where none was given.

        What the calls do not suffice for is in neither part: a run that goes on with more of them has the same demonstrations
        to choose from, and only more to run them on.
        """
        if val or len(train) < LEAST_SPLIT:
            return train, val or train
        drawn_first = rng.sample(train, len(train))
        count = min(MOST_VALIDATION, len(train) // 3)
        most = max(LEAST_VALIDATION, self._calls // (COMPARED * self._predictors))
        return drawn_first[count:], drawn_first[: min(count, most)]

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
        smaller._calls = min(self._calls, budget.calls - shape.evidence_calls)
        return smaller

    async def run(self, ctx: Any) -> Candidate:
        """Families, variations of the one that leads, a closer look at two that are alike, labels, instructions."""
        leaders = Leaders(ctx, self._calls, math.inf if self.race_z is None else self.race_z)
        await leaders.race([partial(given, Arm("as it is", ctx.student, "as it is"))])
        async with ctx.phase("families"):
            pool = await demonstrations(ctx, leaders)
            answers = answers_of(ctx.train) if has_labels(ctx) else None
            # Seconds on many long texts: beside the loop, and once.
            kinds = await ctx.compute("nearness", kinds_for, texts_of(ctx.train), answers) if pool else []
            first = families(ctx, pool, kinds) if pool else []
            first = [partial(given, first[0]()), *first[1:]] if first else []  # its draw is made once
            weighing = await self.weighing(ctx, leaders, first)
            await entered(leaders, first, weighing)
        async with ctx.phase("variations"):
            last = can_be_calibrated(ctx) and not (pool and can_weigh(ctx))  # by runs of its own
            later = SETTLING + (CALIBRATION if last else 0)
            more = variations(ctx, pool, kinds, leaders.leader) if pool else []
            await entered(leaders, more, weighing, later)
        if is_direct(ctx):
            async with ctx.phase("settling"):
                order = ctx.rng("settling").sample(ctx.train, len(ctx.train))
                await leaders.settle(order, SETTLING * len(ctx.val) // 2)
        if last:
            await self.calibrated(ctx, leaders)
        if self.prompt_model is not None and leaders.room > 1:
            async with ctx.phase("instructions"):
                arms = await instructed(ctx, leaders.leader.candidate, min(PROPOSALS, leaders.room - 1))
                leaders.pay(len(arms) * len(ctx.predictors))
                await leaders.race([partial(given, arm) for arm in arms])
        return leaders.leader.candidate

    async def weighing(self, ctx: Any, leaders: Leaders, arms: Sequence[Maker]) -> Weighing | None:
        """What weighs labels, where that costs no call."""
        if not arms or leaders.room < 1 or not can_weigh(ctx):
            return None
        made = Weighing(ctx)
        leaders.pay(1)
        if await made.shows(arms[0]()):
            return made
        ctx.note("labels are compared as they come: no reply shows how likely each was")
        return None

    async def calibrated(self, ctx: Any, leaders: Leaders) -> None:
        """The leader with labels weighed otherwise, where calls are left."""
        if leaders.room < CALIBRATION:
            return
        try:
            made = await ctx.compile(LabelCalibration(self.metric), leaders.leader.candidate, label="calibration")
        except EvaluationError as error:
            ctx.note(f"no calibration: {error}")
            return
        # Weighing asks for each label's likelihood anew, once for all weights.
        leaders.pay(len(ctx.val) * len(ctx.predictors))
        if made.key != leaders.leader.candidate.key:
            await leaders.race([partial(given, Arm("calibrated", made, "calibrated"))])


def given(arm: Arm) -> Arm:
    """An arm that is made already."""
    return arm


async def entered(leaders: Leaders, arms: Sequence[Maker], weighing: Weighing | None, spare: int = 0) -> None:
    """Run arms against those that lead, with labels weighed or as they are."""
    if weighing is None:
        await leaders.race(arms, spare)
    else:
        await leaders.weigh(arms, weighing, spare)


def can_be_calibrated(ctx: Any) -> bool:
    """Whether there are labels, and the model shows how likely each is."""
    return bool(has_labels(ctx) and ctx.capabilities["task"].logprobs)


async def demonstrations(ctx: Any, leaders: Leaders) -> Pool:
    """What there is to show: the examples, or good runs; empty where no run is good."""
    if is_direct(ctx):
        return labelled_pool(ctx)
    count = min(len(ctx.train), leaders.left // (RUN_SHARE * leaders.per_run))
    runs = await ctx.collect(ctx.teacher or ctx.student, ctx.train[:count], count, speculate=False)
    leaders.pay(count * leaders.per_run)
    pool = run_pool(ctx, runs)
    return pool if all(pool.values()) else {}


def families(ctx: Any, pool: Pool, kinds: Sequence[str]) -> list[Maker]:
    """One or two of each family, the likelier ones first; more draws where nothing is near."""
    near = [partial(nearest, ctx, pool, 4, kind) for kind in kinds]
    draws = [partial(drawn, ctx, pool, 8, draw) for draw in range(2 if near else 3)]
    return [*near[:1], draws[0], *near[1:], *draws[1:]]


def variations(ctx: Any, pool: Pool, kinds: Sequence[str], leader: Arm) -> list[Maker]:
    """Other numbers of the nearest demonstrations, and other draws; more of those of the leading family.

    One of the other family is among the first: on some dozens of examples which family leads is partly luck.
    """
    draws: list[Maker] = [partial(drawn, ctx, pool, count, 3 + draw) for draw, count in enumerate((16, 8, 16, 8, 4))]
    if not kinds:
        return draws
    kind = kinds[0]
    if leader.family == "nearest":
        used = leader.candidate.predictors[next(iter(pool))].params["nearest_demos"]["vectorizer"]
        kind = next(one for one in kinds if dict(KINDS[one]) == used)
    near: list[Maker] = [partial(nearest, ctx, pool, count, kind) for count in (8, 2, 6, 12)]
    leading, others = (near, draws) if leader.family == "nearest" else (draws, near)
    return [leading[0], others[0], *leading[1:], *others[1:]]
