"""The runs of one example, side by side: where they differ there is something to learn."""

import math
from collections.abc import Sequence

import msgspec

from dspex import Example, Rollout

LOW, HIGH = 0.1, 0.9


class Bucket(msgspec.Struct, frozen=True):
    """Runs of several programs on an example, best first."""

    example: Example
    runs: tuple[Rollout, ...]

    @property
    def best(self) -> Rollout:
        """The first of the best runs."""
        return self.runs[0]

    @property
    def worst(self) -> Rollout:
        """The last of the worst runs."""
        return self.runs[-1]

    @property
    def spread(self) -> tuple[float, float, float]:
        """From best to worst, the best, and from best to mean."""
        best, mean = self.best.score, math.fsum(run.score for run in self.runs) / len(self.runs)
        return best - self.worst.score, best, best - mean


class Bounds(msgspec.Struct, frozen=True):
    """Scores that a tenth of all runs do not exceed, and that a tenth do not fall short of."""

    low: float
    high: float


def buckets(batch: Sequence[Example], runs: Sequence[Sequence[Rollout]]) -> tuple[list[Bucket], Bounds]:
    """The buckets of a batch, the most telling first; `runs` are rows in the order of the batch."""
    made = [
        Bucket(example, tuple(sorted(some, key=lambda run: -run.score)))
        for example, some in zip(batch, zip(*runs, strict=True), strict=True)
    ]
    scores = [run.score for row in runs for run in row]
    bounds = Bounds(percentile(scores, LOW), percentile(scores, HIGH))
    return sorted(made, key=lambda one: one.spread, reverse=True), bounds


def percentile(scores: Sequence[float], share: float) -> float:
    """The score below which that share lies, between two scores in a straight line."""
    ranked = sorted(scores)
    place = share * (len(ranked) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ranked) - 1)
    return ranked[below] + (place - below) * (ranked[above] - ranked[below])
