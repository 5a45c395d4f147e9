"""Classification outputs, calibrated: labels that a model likes too much, whatever it reads, are made to cost more."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from dspex import Candidate, ConfigurationError, Estimate, Optimizer, Range, Rollout, Shape, settings
from dspex_optimizers.checks import at_least, positive

Bias = dict[str, dict[str, dict[str, float]]]  # by predictor, output and label

NONE = 0.0


class LabelCalibration(Optimizer):
    """Biases for the labels of Literal, enum and bool outputs, from log-probabilities of `num_inputs` unlabelled inputs.

    A label's prior is its mean log-probability over those inputs (batch calibration, 2309.17249); times each of `taus` it is
    taken off the label's own, and the likeliest is the answer. The bias that does best on the valset is kept if choosing it
    on all but one of `folds` parts does better on that part than none, over all parts. Needs models that give
    log-probabilities.
    """

    def __init__(
        self,
        metric: Any,
        num_inputs: int = 32,
        taus: Sequence[float] = (0.5, 1.0),
        folds: int = 5,
        num_threads: int | None = None,
    ) -> None:
        if metric is None:
            raise ConfigurationError("A calibration needs a metric to tell whether it helps: metric=...")
        at_least(1, num_inputs=num_inputs, num_threads=num_threads)
        at_least(2, folds=folds)
        for tau in taus:
            positive(taus=tau)
        if not taus:
            raise ConfigurationError(f"taus={taus!r}: some numbers above 0; 1 takes the whole prior off.")
        self.metric = metric
        self.num_inputs = num_inputs
        self.taus = tuple(taus)
        self.folds = folds
        self.num_threads = num_threads

    def estimate(self, shape: Shape) -> Estimate:
        """The inputs once, and the valset as the program is and with each bias."""
        runs = min(self.num_inputs, shape.val) + (1 + len(self.taus)) * shape.val
        return Estimate(task=Range(0, runs * shape.calls_per_run))

    async def run(self, ctx: Any) -> Candidate:
        """Weigh, make the biases, score them, and see whether the choice of one of them holds."""
        fields = open_fields(ctx)
        async with ctx.phase("label priors", total=min(self.num_inputs, len(ctx.val))):
            priors = await self.priors(ctx, fields)
        made: dict[float, Candidate] = {NONE: ctx.consider(ctx.student, "as it is", meta={"tau": NONE})}
        for tau in self.taus:
            params = {path: {"choice_bias": scaled(outputs, tau)} for path, outputs in priors.items()}
            made[tau] = ctx.consider(ctx.student.with_params(params), f"tau {tau:g}", [ctx.student], {"tau": tau})
        async with ctx.phase("calibration", total=len(made) * len(ctx.val)):
            scores = await ctx.evaluate_all([(one, ctx.val) for one in made.values()])
        rows = dict(zip(made, [one.values for one in scores], strict=True))
        order = ctx.rng("folds").sample(range(len(ctx.val)), len(ctx.val))
        chosen, plain = held_out(rows, [order[fold :: self.folds] for fold in range(self.folds)])
        tau = best(rows, order)
        is_kept = tau != NONE and chosen > plain
        told = f"{100 * chosen:.1f} with a bias chosen on the other folds, {100 * plain:.1f} without"
        ctx.note(f"label calibration: {f'tau {tau:g}' if is_kept else 'none kept'}; {told}")
        return made[tau] if is_kept else made[NONE]

    async def priors(self, ctx: Any, fields: Mapping[str, Mapping[str, Sequence[str]]]) -> Bias:
        """Mean log-probabilities by label. Raises ConfigurationError where the models give none."""
        weighing = {
            path: {"choice_bias": {name: dict.fromkeys(labels, 0.0) for name, labels in outputs.items()}}
            for path, outputs in fields.items()
        }
        probe, inputs = ctx.student.with_params(weighing), ctx.val[: self.num_inputs]
        first = await ctx.evaluate(probe, inputs[:1], trace=True)  # whether there are any is not always known before
        rest = await ctx.evaluate(probe, inputs[1:], trace=True) if first.rows[0].ok else first
        seen = [*first.rows, *rest.rows]
        found = {
            path: {name: prior(seen, path, name, labels) for name, labels in outputs.items()}
            for path, outputs in fields.items()
        }
        found = {path: {name: one for name, one in outputs.items() if one} for path, outputs in found.items()}
        if not any(found.values()):
            why = next((row.error for row in seen if row.error), "no reply shows where it chose a label")
            raise ConfigurationError(f"There is nothing to calibrate by: {why.rstrip('.')}.")
        return {path: outputs for path, outputs in found.items() if outputs}


def open_fields(ctx: Any) -> dict[str, dict[str, tuple[str, ...]]]:
    """Labels by predictor and output. Raises ConfigurationError where there are none, or a model shows no log-probabilities."""
    found = {}
    for path, predictor in ctx.program(ctx.student).named_predictors():
        outputs = {field.name: field.choices for field in predictor.signature.compiled.outputs if field.choices}
        if not outputs:
            continue
        lm = predictor.lm or settings.lm
        if lm is not None and lm.capabilities.logprobs is False:
            raise ConfigurationError(
                f"LabelCalibration needs log-probabilities, which {lm!r} does not give (capability: logprobs)."
            )
        found[path] = outputs
    if not found:
        raise ConfigurationError(
            "LabelCalibration needs an output of a Literal, an enum or bool; this program has none."
        )
    return found


def prior(rows: Sequence[Rollout], path: str, name: str, labels: Sequence[str]) -> dict[str, float]:
    """Mean log-probability of each label; one that a reply does not show is taken to be as likely as the least that it shows."""
    steps = [step for row in rows for step in row.trace or () if step.predictor == path]
    shown = [step.scores[name] for step in steps if step.scores.get(name)]
    return {label: fmean(one.get(label, min(one.values())) for one in shown) for label in labels} if shown else {}


def scaled(outputs: Mapping[str, Mapping[str, float]], tau: float) -> dict[str, dict[str, float]]:
    """The biases: as much of the priors as `tau` says, less what all labels have in common."""
    return {
        name: {label: round(tau * (fmean(means.values()) - mean), 6) for label, mean in means.items()}
        for name, means in outputs.items()
    }


def best(rows: Mapping[float, Sequence[float]], places: Sequence[int]) -> float:
    """What does best there; of equals the smallest."""
    return max(sorted(rows), key=lambda tau: (sum(rows[tau][place] for place in places), -tau))


def held_out(rows: Mapping[float, Sequence[float]], folds: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Mean score over all folds, each with what does best on the others, and of no bias."""
    total = 0.0
    for fold in folds:
        others = [place for other in folds if other is not fold for place in other]
        tau = best(rows, others)
        total += sum(rows[tau][place] for place in fold)
    return total / len(rows[NONE]), fmean(rows[NONE])
