"""Who leads a race of strategies, and what is left to spend."""

from collections.abc import Callable, Sequence
from math import fsum, hypot
from typing import Any

from dspex import Example, Rollout
from dspex_optimizers.arms import Arm
from dspex_optimizers.weighing import Weighing

Maker = Callable[[], Arm]
Standing = tuple[Arm, float]  # an arm that was run on the whole valset, with its mean score


class Leaders:
    """The arms that lead a race, and the calls that are left for it."""

    def __init__(self, ctx: Any, calls: int, z: float) -> None:
        self._ctx = ctx
        self._z = z
        self._run = len(ctx.predictors)  # the most calls that one run has taken
        self._left = calls - self._run  # the last run is begun only if there were room for a second try of its calls
        self._paid: dict[str, int] = {}
        self._whole: list[Standing] = []  # best first, of equals the earlier

    @property
    def leader(self) -> Arm:
        """The best so far."""
        return self._whole[0][0]

    @property
    def room(self) -> int:
        """How many more candidates may be run on the whole valset."""
        return max(0, self._left // (self._run * max(1, len(self._ctx.val))))

    @property
    def left(self) -> int:
        """Calls that are not spent."""
        return self._left

    @property
    def per_run(self) -> int:
        """The most calls that one run has taken: those of agents take more than one a predictor."""
        return self._run

    def pay(self, calls: int) -> None:
        """Note calls that were spent."""
        self._left -= calls

    async def race(self, arms: Sequence[Maker], spare: int = 0) -> None:
        """Make and run as many of these, the first ones, as there is room for beside `spare` others, against the two that lead."""
        most = max(0 if self._whole else 1, self.room - spare)
        made = [self._entered(make()) for make in arms[:most]]
        if not made:
            return
        leading = [arm for arm, _ in self._whole[:2]]
        entered = [*leading, *made]
        race = await self._ctx.race([arm.candidate for arm in entered], self._ctx.val, z=self._z, keep=2)
        for arm, scores in zip(entered, race.scores, strict=True):
            self._note(scores.rows[self._paid.get(arm.candidate.key, 0) :])
            self._paid[arm.candidate.key] = len(scores)
        whole = [(arm, s.mean) for arm, s in zip(entered, race.scores, strict=True) if len(s) == len(self._ctx.val)]
        self._rank([*whole, *self._whole[2:]])

    async def weigh(self, arms: Sequence[Maker], weighing: Weighing, spare: int = 0) -> None:
        """The same in the weights that suit their families best; none is dropped, as weights may turn the order over."""
        made = [make() for make in arms[: max(0, self.room - spare)]]
        if not made:
            return
        for rows in await weighing.run(made):
            self._note(rows)
        best = weighing.best()
        of = {arm.family for arm, _ in best}
        self._rank([*(one for one in self._whole if one[0].family not in of), *best])

    async def settle(self, examples: Sequence[Example], most: int) -> None:
        """Which of two leads that are about as good, by up to `most` examples beside the valset each.

        They are the best of two families, or of one where there is no other.
        """
        shown = [arm for arm, _ in self._whole if has_demos(arm)]
        if len(shown) < 2 or shown[0] is not self.leader:
            return
        rival = next((arm for arm in shown if arm.family != shown[0].family), shown[1])
        known = await self._gaps(rival, self._ctx.val)
        fixed = {demo.origin for arm in (shown[0], rival) for demo in fixed_demos(arm)}
        fresh = [one for one in examples if self._ctx.key_of(one) not in fixed]
        fresh = fresh[: min(most, self._left // (2 * self._run))]
        if not fresh or clearness(known) >= self._z:
            return
        gaps = known + await self._gaps(rival, fresh)
        points = 100 * fsum(gaps) / len(gaps)
        self._ctx.note(f"{shown[0].label}: {points:+.1f} points beside {rival.label}, on {len(gaps)} examples")
        if points < 0:
            self._whole.sort(key=lambda one: one[0] is not rival)

    async def _gaps(self, rival: Arm, examples: Sequence[Example]) -> list[float]:
        """What the leader scores more than a rival, by example; what was run before is not run again."""
        pairs = [(arm.candidate, examples) for arm in (self.leader, rival)]
        own, other = await self._ctx.evaluate_all(pairs)
        if examples is not self._ctx.val:
            self._note([*own.rows, *other.rows])
        return [one - two for one, two in zip(own.values, other.values, strict=True)]

    def _entered(self, arm: Arm) -> Arm:
        self._ctx.consider(arm.candidate, arm.label, arm.parents)
        return arm

    def _note(self, rows: Sequence[Rollout]) -> None:
        self.pay(sum(row.usage.calls for row in rows))
        self._run = max([self._run, *(row.usage.calls for row in rows)])

    def _rank(self, whole: Sequence[Standing]) -> None:
        self._whole = sorted(whole, key=lambda one: -one[1])


def clearness(gaps: Sequence[float]) -> float:
    """How far a mean gap is from nothing, as a race counts it."""
    return fsum(gaps) / (hypot(*gaps) or 1.0)


def has_demos(arm: Arm) -> bool:
    """Whether the arm shows demonstrations."""
    return any(state.demos for state in arm.candidate.predictors.values())


def fixed_demos(arm: Arm) -> list[Any]:
    """Demonstrations that are shown at each call; those chosen for a call leave its own example out."""
    return [
        demo
        for state in arm.candidate.predictors.values()
        if "nearest_demos" not in state.params
        for demo in state.demos
    ]
