"""Instructions that a prompt model writes, grounded in the data, the program and runs that went well."""

from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Any, Literal

import msgspec

from dspex import Candidate, Demo
from dspex_mipro.outline import demo_text, example_text, fields, outline
from dspex_mipro.plan import MOST_SAMPLES, SHOWN_DEMOS
from dspex_mipro.questions import COMPLETE, TIPS, Describe, DescribePart, Observe, Propose, Summarise, asked

IDLE_SAMPLES = 5  # that show nothing new, and the rest is not looked at
QUOTES = "\"'`"


class Grounds(msgspec.Struct, frozen=True):
    """What a proposal rests on; what could not be found out, or was not asked for, is None."""

    data: str | None = None
    program: str | None = None
    purposes: Mapping[str, str | None] = {}


async def data_summary(ctx: Any, size: int, kind: Literal["chain", "parallel"]) -> str | None:
    """What the training examples have in common, from samples of `size`; in a chain each builds on the one before."""
    parts = [ctx.train[at : at + size] for at in range(0, len(ctx.train), size)]
    samples = ["\n\n".join(map(example_text, part)) for part in parts[:MOST_SAMPLES]]
    if kind == "parallel":
        answers = await ctx.gather(*(observed(ctx, sample, None) for sample in samples))
        notes = [text for text in answers if text is not None and not is_complete(text)]
    else:
        notes = await chained(ctx, samples)
    if not notes:
        return None
    told = "\n".join(notes)
    return await asked(ctx, Summarise, {"notes": told}) or told


async def chained(ctx: Any, samples: Sequence[str]) -> list[str]:
    """Notes on one sample after another."""
    notes: list[str] = []
    idle = 0
    for sample in samples:
        text = await observed(ctx, sample, "\n".join(notes))
        if text is not None and not is_complete(text):
            notes.append(text)
            continue
        idle += text is not None
        if idle == IDLE_SAMPLES:
            break
    return notes


async def observed(ctx: Any, sample: str, known: str | None) -> str | None:
    """Notes on one sample."""
    return await asked(ctx, Observe, {"examples": sample, "known": known}, temperature=1.0)


def is_complete(text: str) -> bool:
    """Whether an answer says that there is nothing new, and not much else."""
    words = text.lower().split()
    return len(words) <= 5 and words[0].strip(QUOTES + ".:!*") == COMPLETE


async def described(ctx: Any) -> tuple[str | None, dict[str, str | None]]:
    """What the program does, and what each predictor is for."""
    tree = outline(ctx.program(ctx.student))
    example = example_text(ctx.train[0])
    description = await asked(ctx, Describe, {"outline": tree, "example": example})
    parts = {one.name: f"{one.name}: {fields(one.signature)}" for one in ctx.predictors}
    purposes = await ctx.gather(
        *(
            asked(ctx, DescribePart, {"outline": tree, "description": description, "part": part})
            for part in parts.values()
        )
    )
    return description or tree, dict(zip(parts, purposes, strict=True))


async def instructions(
    ctx: Any, grounds: Grounds, sets: Sequence[Candidate], count: int, *, temperature: float, has_tips: bool
) -> dict[str, list[str]]:
    """The student's own instruction and up to `count` - 1 proposals, by predictor; one that fails is missing."""
    signatures = {one.name: one.signature for one in ctx.predictors}
    places = [(path, number) for path in signatures for number in range(1, count)]
    given = [
        {
            "data": grounds.data,
            "program": grounds.program,
            "purpose": grounds.purposes.get(path),
            "step": fields(signatures[path]),
            "runs": demo_text(shown(sets, path, number)),
            "current": ctx.student.predictors[path].instructions,
            "tip": ctx.rng(f"tip/{path}/{number}").choice(TIPS) if has_tips else None,
        }
        for path, number in places
    ]
    texts = await ctx.gather(
        *(
            asked(ctx, Propose, one, temperature=temperature, sample=number)
            for one, (_, number) in zip(given, places, strict=True)
        )
    )
    found = {path: [state.instructions] for path, state in ctx.student.predictors.items()}
    for (path, _), text in zip(places, texts, strict=True):
        if text is not None and (clean := text.strip().strip(QUOTES).strip()):
            found[path].append(clean)
    return found


def shown(sets: Sequence[Candidate], path: str, number: int) -> list[Demo]:
    """Runs that went well, from the set of that number on and round again."""
    first = number % max(1, len(sets))
    demos = chain.from_iterable(one.predictors[path].demos for one in (*sets[first:], *sets[:first]))
    return list(islice((demo for demo in demos if demo.augmented), SHOWN_DEMOS))
