"""Who leads a race of strategies, and what is left to spend."""

from collections.abc import Sequence
from typing import Any

from dspex_optimizers.arms import Arm


class Leaders:
    """The arms that lead a race, and the calls that are left for it."""

    def __init__(self, ctx: Any, calls: int, z: float) -> None:
        self._ctx = ctx
        self._z = z
        self._left = calls
        self._run = len(ctx.predictors)  # the most calls that one run has taken
        self._paid: dict[str, int] = {}
        self._leaders: list[Arm] = []

    @property
    def leader(self) -> Arm:
        """The best so far."""
        return self._leaders[0]

    @property
    def room(self) -> int:
        """How many more candidates may be run on the whole valset."""
        return max(0, self._left // (self._run * max(1, len(self._ctx.val))))

    @property
    def left(self) -> int:
        """Calls that are not spent."""
        return self._left

    def pay(self, calls: int) -> None:
        """Note calls that were spent."""
        self._left -= calls

    async def race(self, arms: Sequence[Arm], spare: int = 0) -> None:
        """Run as many of these, the first ones, as there is room for beside `spare` others, against the two that lead."""
        most = max(0 if self._leaders else 1, self.room - spare)
        entered = [*self._leaders, *arms[:most]]
        if len(entered) == len(self._leaders):
            return
        race = await self._ctx.race([arm.candidate for arm in entered], self._ctx.val, z=self._z, keep=2)
        for arm, scores in zip(entered, race.scores, strict=True):
            fresh = scores.rows[self._paid.get(arm.candidate.key, 0) :]
            self._paid[arm.candidate.key] = len(scores)
            self.pay(sum(row.usage.calls for row in fresh))
            self._run = max([self._run, *(row.usage.calls for row in fresh)])
        whole = [(arm, s.mean) for arm, s in zip(entered, race.scores, strict=True) if len(s) == len(self._ctx.val)]
        self._leaders = [arm for arm, _ in sorted(whole, key=lambda one: -one[1])][:2]
