"""What a race of strategies lets run: candidates by the family they belong to."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dspex import Candidate, Demo, Example, Failure, InputField, OutputField, Rollout, Signature
from dspex_optimizers.bootstrap import chosen
from dspex_optimizers.labeled import demo, in_turn
from dspex_optimizers.nearness import KINDS

AS_THEY_ARE = 2  # the draw of three that takes the labels as they come

Pool = Mapping[str, tuple[Demo, ...]]  # the demonstrations of each predictor to choose from


class Arm(msgspec.Struct, frozen=True):
    """A candidate, the family that it is one of, and what it is called in the pool."""

    family: str
    candidate: Candidate
    label: str
    parents: tuple[Candidate, ...] = ()


class Instruct(Signature):
    """Write a new instruction for a step of a program that a language model carries out. Say what to do and how the answer
    has to look; do not repeat the examples.
    """

    step: str = InputField(desc="what the step is given, and what it has to give")
    instruction: str = InputField(desc="the one it has now")
    examples: list[str] = InputField(desc="right answers")
    proposed_instruction: str = OutputField(desc="a better one")


def is_direct(ctx: Any) -> bool:
    """Whether the examples themselves are demonstrations: they have all fields of all predictors."""
    names = {field.name for info in ctx.predictors for field in info.fields}
    return all(names <= set(example.keys()) for example in ctx.train)


def has_labels(ctx: Any) -> bool:
    """Whether some predictor's answer is one of a few that its type names."""
    return any(field.choices for info in ctx.predictors for field in outputs(info))


def outputs(info: Any) -> list[Any]:
    """The fields that a predictor has to give."""
    return [field for field in info.fields if field.name in info.signature.output_fields]


def labelled_pool(ctx: Any) -> Pool:
    """All training examples, for each predictor."""
    demos = tuple(demo(ctx, example) for example in ctx.train)
    return dict.fromkeys(ctx.student.predictors, demos)


def run_pool(ctx: Any, runs: Sequence[Rollout]) -> Pool:
    """What each predictor was given and made in good runs."""
    return {
        path: tuple(one for run in runs if (one := chosen(run, path)) is not None) for path in ctx.student.predictors
    }


def drawn(ctx: Any, pool: Pool, count: int, draw: int) -> Arm:
    """The student with `count` demonstrations of the pool, at random; `draw` tells one draw from another.

    Two of three draws take each label in turn: shown one label more than others a model leans to it. The third is as the data
    are, for where some labels are rare and ought to be.
    """
    order = ctx.rng(f"drawn/{count}/{draw}").sample(range(size := min(map(len, pool.values()))), size)
    if draw % 3 < AS_THEY_ARE:
        labels = labels_at(ctx, pool)
        order = [order[at] for at in in_turn([labels[place] for place in order])]
    picked = order[:count]
    demos = {path: tuple(of[place] for place in picked) for path, of in pool.items()}
    return Arm("drawn", ctx.student.with_demos(demos), f"{count} demonstrations, draw {draw}")


def labels_at(ctx: Any, pool: Pool) -> list[str]:
    """By place in the pool: the labels of all predictors' demonstrations."""
    names = {info.name: [field.name for field in outputs(info) if field.choices] for info in ctx.predictors}
    rows = zip(
        *([[str(demo.fields.get(name)) for name in names[path]] for demo in of] for path, of in pool.items()),
        strict=False,
    )
    return [str(row) for row in rows]


def nearest(ctx: Any, pool: Pool, count: int, kind: str) -> Arm:
    """The student with those `count` demonstrations of the pool that are most like each call."""
    found = {"k": count, "max_bootstrapped_demos": count, "max_labeled_demos": count, "vectorizer": dict(KINDS[kind])}
    made = ctx.student.with_demos(pool).with_params({path: {"nearest_demos": found} for path in pool})
    return Arm("nearest", made, f"the {count} nearest demonstrations by {kind}")


async def instructed(ctx: Any, base: Candidate, count: int) -> list[Arm]:
    """The candidate with new instructions, as a prompt model proposes them; a proposal that fails is left out."""
    shown = [as_text(example) for example in ctx.rng("instruct").sample(ctx.train, min(5, len(ctx.train)))]
    asked = await ctx.gather(
        *(
            ctx.ask(
                Instruct, sample=sample, temperature=1.0, examples=shown, instruction=base.predictors[info.name].instructions,
                step=info.signature.signature,
            )
            for sample in range(1, count + 1)
            for info in ctx.predictors
        )
    )  # fmt: skip
    width = len(ctx.predictors)
    rows = [asked[at : at + width] for at in range(0, len(asked), width)]
    good = [[one for (one,) in row] for row in rows if not any(isinstance(one, Failure) for (one,) in row)]
    texts = [
        {info.name: one.proposed_instruction for info, one in zip(ctx.predictors, row, strict=True)} for row in good
    ]
    return [
        Arm("instructed", base.with_instructions(text), f"instruction {at}", (base,)) for at, text in enumerate(texts)
    ]


def as_text(example: Example) -> str:
    """An example in one line."""
    return "; ".join(f"{name}: {value}" for name, value in example.items())
