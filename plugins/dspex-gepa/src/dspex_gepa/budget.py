"""Metric calls: how many a run may make, and how many it has made."""

import math

from dspex import ConfigurationError, Estimate, Range, Shape

CANDIDATES = {"light": 6, "medium": 12, "heavy": 18}
MINIBATCH, FULL_EVERY, BOOTSTRAPS = 35, 5, 5


def auto_calls(
    predictors: int, candidates: int, val: int, minibatch: int = MINIBATCH, full_every: int = FULL_EVERY
) -> int:
    """What a MIPROv2 of as many candidates would take, as in DSPy: 780, 1,190 and 1,735 for one predictor and 100 examples."""
    trials = int(max(2 * (predictors * 2) * math.log2(candidates), 1.5 * candidates))
    full = (trials + 1) // full_every + 1 + (trials < full_every) if trials else 0
    return val + candidates * BOOTSTRAPS + trials * minibatch + full * val


class Meter:
    """Counts scorings of program runs, in the order in which the algorithm asks for them; one never goes beyond `limit`.

    A run that the journal or an equal step answers counts as any other, so that the count is the same for each replay.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    @property
    def left(self) -> int:
        """How many may still be asked for."""
        return self.limit - self.used

    def take(self, count: int) -> None:
        """Count some. Raises ConfigurationError beyond the limit, which would be a fault of the search."""
        if count > self.left:
            raise ConfigurationError(f"{count} metric calls were asked for where {self.left} of {self.limit} are left.")
        self.used += count


def checked(limit: int, val: int) -> int:
    """The limit. Raises ConfigurationError if the student could not even be scored."""
    if limit < val:
        raise ConfigurationError(
            f"The budget is {limit:,} metric calls, and scoring the program once on the valset takes {val:,}: raise "
            "max_metric_calls, or give a smaller valset."
        )
    return limit


def estimated(limit: int, shape: Shape, minibatch: int, components: int) -> Estimate:
    """Bounds of a run of `limit` metric calls, where each reflection asks for up to `components` texts.

    A reflection follows from a whole minibatch, only that of the first round from what there is room for; a second minibatch
    is run where it gave a new text.
    """
    left = limit - shape.val
    rounds = min(1, left) + left // min(minibatch, shape.train)
    return Estimate(
        task=Range(shape.val, limit * shape.calls_per_run),
        reflection=Range(0, rounds * components),
        metric=Range(shape.val, limit),
    )
