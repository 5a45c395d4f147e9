"""Settings made smaller until a budget covers them."""

import copy
import itertools
from collections.abc import Iterable
from typing import TypeVar

from dspex import Budget, Optimizer, Shape

O = TypeVar("O", bound=Optimizer)  # noqa: E741  an optimizer


def fitted(optimizer: O, shape: Shape, budget: Budget, **settings: Iterable[int]) -> O | None:
    """A copy with those of the settings that use the most of a budget of calls, the first of equals; None if none fits.

    What the evidence takes of held examples comes first.
    """
    if budget.calls is None:
        return None
    room, best, most = budget.calls - shape.evidence_calls, None, -1
    for values in itertools.product(*settings.values()):
        one = copy.copy(optimizer)
        for name, value in zip(settings, values, strict=True):
            setattr(one, name, value)
        high = one.estimate(shape).high
        if most < high <= room:
            best, most = one, high
    return best
