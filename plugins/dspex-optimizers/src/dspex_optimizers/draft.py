"""A program under change: a copy of an earlier one with some demonstrations gone and perhaps one come."""

import math
import random
from typing import Any

import msgspec

from dspex import Candidate, Demo, Rollout
from dspex_optimizers.bucket import Bucket

CUT = " ... (cut off)"


class Draft(msgspec.Struct, frozen=True):
    """What a step is about to make of a bucket: a copy of an earlier program, and how it is to be changed."""

    source: Candidate
    candidate: Candidate
    strategy: str  # "demo", "rule", or "copy" where the bucket has nothing to tell
    bucket: Bucket


def thinned(candidate: Candidate, most: int, rng: random.Random) -> Candidate:
    """Without some demos, more of them the more there are, at the same positions in all predictors."""
    count = max(len(state.demos) for state in candidate.predictors.values())
    dropped = min(count, max(poisson(rng, count / most), int(count >= most)))
    gone = rng.sample(range(count), dropped)
    return candidate.with_demos(
        {
            path: tuple(demo for place, demo in enumerate(state.demos) if place not in gone)
            for path, state in candidate.predictors.items()
        },
        keep_selector=True,
    )


def poisson(rng: random.Random, mean: float) -> int:
    """A draw from the Poisson distribution (Knuth, The Art of Computer Programming 2, 3.4.1)."""
    count, left, least = 0, rng.random(), math.exp(-mean)
    while left > least:
        count, left = count + 1, left * rng.random()
    return count


def shown(candidate: Candidate, run: Rollout, most: int | None) -> Candidate:
    """With the last step of each predictor in this run as a demo more; inputs are cut to `most` characters."""
    steps = {step.predictor: step for step in run.trace or () if step.predictor in candidate.predictors}
    demos = {}
    for path, step in steps.items():
        inputs = {name: cut(value, most) for name, value in step.inputs.items()}
        demo = Demo({**inputs, **step.outputs}, augmented=True, origin=run.example)
        demos[path] = (*candidate.predictors[path].demos, demo)
    return candidate.with_demos(demos, keep_selector=True)


def cut(value: Any, most: int | None) -> Any:
    """The value, or the beginning of its text where that is too long."""
    return f"{str(value)[:most]}{CUT}" if most and len(str(value)) > most else value
