"""Sets of demonstrations to choose from, each a candidate made by another optimizer inside the run."""

from typing import Any

import dspex
from dspex import Candidate
from dspex_mipro.plan import Plan

LABELLED, UNSHUFFLED = 1, 2


async def demo_sets(ctx: Any, optimizer: Any, plan: Plan) -> list[Candidate]:
    """The student's own, labelled ones, bootstrapped ones, and more of these from shuffled data; all side by side."""
    made = await ctx.gather(*(one_set(ctx, optimizer, plan, index) for index in range(1, plan.sets)))
    return [ctx.student, *made]


async def one_set(ctx: Any, optimizer: Any, plan: Plan, index: int) -> Candidate:
    """The set of that index. The shuffled ones have 1 to `plan.demos` bootstrapped demonstrations."""
    if index == LABELLED and plan.labels:
        made: Candidate = await ctx.compile(dspex.LabeledFewShot(plan.labels), ctx.student, label="labelled")
        return made
    train, most = list(ctx.train), plan.demos
    if index != UNSHUFFLED:
        ctx.rng(f"shuffle/{index}").shuffle(train)
        most = most and ctx.rng(f"size/{index}").randint(1, most)
    bootstrap = dspex.BootstrapFewShot(
        optimizer.metric,
        optimizer.metric_threshold,
        teacher_settings=optimizer.roles()["teacher"],
        max_bootstrapped_demos=most,
        max_labeled_demos=plan.labels,
    )
    label = f"bootstrap/{index}"
    bootstrapped: Candidate = await ctx.compile(bootstrap, ctx.student, train=train, teacher=ctx.teacher, label=label)
    return bootstrapped
