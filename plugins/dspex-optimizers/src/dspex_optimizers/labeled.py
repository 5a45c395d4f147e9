"""Demonstrations taken from the training examples as they are: no call to a model."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any

from dspex import Candidate, Demo, Example, Optimizer
from dspex_optimizers.checks import at_least


class LabeledFewShot(Optimizer):
    """`k` training examples as demonstrations of each predictor, drawn at random, or the first ones (`sample=False`).

    Of a predictor that chooses among labels, the draw takes each label in turn: shown one more than others, or last and
    several times in a row, a small model leans to it. `by_label=False` draws as DSPy does, as the data are.
    """

    compile_arguments = MappingProxyType({"sample": True})

    def __init__(self, k: int = 16, *, by_label: bool = True) -> None:
        at_least(0, k=k)
        self.k = k
        self.by_label = by_label

    async def run(self, ctx: Any) -> Candidate:
        """One stream of draws runs through the predictors."""
        rng = ctx.rng("labeled") if ctx.arguments["sample"] else None
        made: Candidate = ctx.consider(
            labelled(ctx, ctx.student, self.k, ctx.train, rng, by_label=self.by_label), "labelled"
        )
        return made


def labelled(
    ctx: Any, base: Candidate, k: int, examples: Sequence[Example], rng: random.Random | None, *, by_label: bool = True
) -> Candidate:
    """The candidate with `k` examples as the demos of each predictor; without `rng` the first ones."""
    chooses = choices_of(ctx) if by_label else {}
    return base.with_demos(
        {
            path: tuple(
                demo(ctx, one)
                for one in (
                    drawn(examples, k, rng, chooses.get(path, ())) if rng else examples[: min(k, len(examples))]
                )
            )
            for path in base.predictors
        }
    )


def drawn(
    examples: Sequence[Example], count: int, rng: random.Random, names: Sequence[str], shown: Iterable[Any] = ()
) -> list[Example]:
    """Up to `count` examples at random; where the fields `names` are labels each of these in turn, `shown` demos counted."""
    if not names:
        return rng.sample(examples, min(count, len(examples)))
    order = rng.sample(examples, len(examples))
    labels = [label_of(one, names) for one in order]
    return [order[place] for place in in_turn(labels, [label_of(one, names) for one in shown])][:count]


def choices_of(ctx: Any) -> dict[str, list[str]]:
    """By predictor: the fields that it has to give and that are one of a few values."""
    return {
        info.name: [one.name for one in info.fields if one.choices and one.name in info.signature.output_fields]
        for info in ctx.predictors
    }


def label_of(fields: Any, names: Sequence[str]) -> str:
    """What an example or a demo has in these fields, as one label; a demo of a run has an enum's value in the member's place."""
    values = [fields.get(name) for name in names]
    return str([str(getattr(value, "value", value)) for value in values])


def in_turn(labels: Sequence[str], had: Iterable[str] = ()) -> list[int]:
    """Their places in rounds, each with the next place of every label that has one left, in the order they come.

    Labels that were `had` before have had their turns of as many rounds.
    """
    rounds = Counter(had)
    ranked = []
    for place, label in enumerate(labels):
        rounds[label] += 1
        ranked.append((rounds[label], place))
    return [place for _, place in sorted(ranked)]


def demo(ctx: Any, example: Example) -> Demo:
    """An example as a demonstration that knows where it is from."""
    return Demo(example.toDict(), origin=ctx.key_of(example))
