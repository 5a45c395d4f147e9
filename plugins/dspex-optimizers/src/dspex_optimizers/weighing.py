"""Arms whose labels are weighed otherwise: a model that likes a label too much, whatever it reads, hides how good its
demonstrations are.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from dspex import Candidate
from dspex_optimizers.arms import Arm, has_labels, outputs
from dspex_optimizers.calibration import NONE, Bias, prior, scaled

TAUS = (NONE, 0.5, 1.0)

Forms = Mapping[float, tuple[Arm, float]]  # by how much of the prior is taken off: the arm so, and its mean score


class Weighing:
    """Runs arms with log-probabilities, and gives each the weights that do best for its family.

    A label's prior is its mean log-probability over the valset, as in LabelCalibration. What the weights are costs no call: it
    decides only how replies are read. How much of the prior is taken off is chosen for all arms of a family together, as on
    some dozens of examples the choice for one of them would be luck.
    """

    def __init__(self, ctx: Any) -> None:
        self._ctx = ctx
        [info] = ctx.predictors
        self._path = info.name
        self._labels = {field.name: field.choices for field in outputs(info) if field.choices}
        self._forms: dict[str, list[Forms]] = {}

    async def shows(self, arm: Arm) -> bool:
        """Whether replies do have the log-probabilities that the model is said to give: one call."""
        rows = await self._ctx.evaluate(self._probe(arm), self._ctx.val[:1], trace=True)
        return bool(self._prior(rows.rows))

    async def run(self, arms: Sequence[Arm]) -> list[Sequence[Any]]:
        """Run the arms on the valset; their rows, for what they took."""
        probes = [self._probe(arm) for arm in arms]
        seen = await self._ctx.evaluate_all([(one, self._ctx.val) for one in probes], trace=True)
        made = [
            [self._weighed(arm, tau, self._prior(rows.rows)) for tau in TAUS]
            for arm, rows in zip(arms, seen, strict=True)
        ]
        pairs = [(form.candidate, self._ctx.val) for forms in made for form in forms]
        scores = iter(await self._ctx.evaluate_all(pairs))
        for forms in made:
            found = {tau: (form, next(scores).mean) for tau, form in zip(TAUS, forms, strict=True)}
            self._forms.setdefault(forms[0].family, []).append(found)
        return [rows.rows for rows in seen]

    def best(self) -> list[tuple[Arm, float]]:
        """All arms that were run, in the weights of their family, with their mean scores."""
        return [of[tau] for family in self._forms.values() for tau in [shared(family)] for of in family]

    def _probe(self, arm: Arm) -> Candidate:
        bias = {name: dict.fromkeys(labels, 0.0) for name, labels in self._labels.items()}
        made: Candidate = arm.candidate.with_params({self._path: {"choice_bias": bias}})
        return made

    def _prior(self, rows: Sequence[Any]) -> Bias:
        found = {name: prior(rows, self._path, name, labels) for name, labels in self._labels.items()}
        return {self._path: {name: one for name, one in found.items() if one}} if any(found.values()) else {}

    def _weighed(self, arm: Arm, tau: float, priors: Bias) -> Arm:
        base = self._probe(arm)
        label = arm.label if tau == NONE else f"{arm.label}, labels weighed by {tau:g}"
        bias = scaled(priors.get(self._path, {}), tau) if tau != NONE else {}
        made = base.with_params(
            {self._path: {"choice_bias": {**base.predictors[self._path].params["choice_bias"], **bias}}}
        )
        return Arm(arm.family, self._ctx.consider(made, label, arm.parents), label, arm.parents)


def can_weigh(ctx: Any) -> bool:
    """Whether weights cost no call: there are labels, the model shows how likely each is, and no other step depends on them."""
    return bool(has_labels(ctx) and ctx.capabilities["task"].logprobs and len(ctx.predictors) == 1)


def shared(family: Sequence[Forms]) -> float:
    """How much of the prior is best taken off for all of them; of equals the least."""
    return max(TAUS, key=lambda tau: (round(fmean(forms[tau][1] for forms in family), 9), -tau))
