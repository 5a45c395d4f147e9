"""Demonstrations taken from the training examples as they are: no call to a model."""

import random
from collections import Counter
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from dspex import Candidate, Demo, Example, Optimizer
from dspex_optimizers.checks import at_least


class LabeledFewShot(Optimizer):
    """`k` training examples as demonstrations of each predictor, drawn at random, or the first ones (`sample=False`)."""

    compile_arguments = MappingProxyType({"sample": True})

    def __init__(self, k: int = 16) -> None:
        at_least(0, k=k)
        self.k = k

    async def run(self, ctx: Any) -> Candidate:
        """One stream of draws runs through the predictors."""
        rng = ctx.rng("labeled") if ctx.arguments["sample"] else None
        made: Candidate = ctx.consider(labelled(ctx, ctx.student, self.k, ctx.train, rng), "labelled")
        return made


def labelled(ctx: Any, base: Candidate, k: int, examples: Sequence[Example], rng: random.Random | None) -> Candidate:
    """The candidate with `k` examples as the demos of each predictor; without `rng` the first ones."""
    count = min(k, len(examples))
    return base.with_demos(
        {
            path: tuple(demo(ctx, one) for one in (rng.sample(examples, count) if rng else examples[:count]))
            for path in base.predictors
        }
    )


def in_turn(labels: Sequence[str]) -> list[int]:
    """Their places in rounds, each with the next place of every label that has one left, in the order they come."""
    rounds: Counter[str] = Counter()
    ranked = []
    for place, label in enumerate(labels):
        rounds[label] += 1
        ranked.append((rounds[label], place))
    return [place for _, place in sorted(ranked)]


def demo(ctx: Any, example: Example) -> Demo:
    """An example as a demonstration that knows where it is from."""
    return Demo(example.toDict(), origin=ctx.key_of(example))
