"""What a reflection is shown of a predictor's calls: inputs, outputs, and what the metric says of them."""

import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dspex import Candidate, Example, Rollout, Scores
from dspex_gepa.runs import Runs
from dspex_gepa.stepping import bound, fenced

Record = dict[str, Any]


class Chosen(msgspec.Struct, frozen=True):
    """A call of a run that a predictor is judged by."""

    runs: Runs
    rollout: Rollout
    index: int
    is_broken: bool


class Critic:
    """Makes the records; the metric is asked about one predictor's call by its five arguments.

    `shows_broken` gives replies that could not be read too, `tells_mismatch` warns once where the metric's score for a
    predictor is not that of the run.
    """

    def __init__(self, ctx: Any, metric: Any, *, shows_broken: bool, tells_mismatch: bool) -> None:
        self._ctx = ctx
        self._metric = metric
        self._shows_broken = shows_broken
        self._tells_mismatch = tells_mismatch
        self._examples = {ctx.key_of(one): one for one in ctx.train}
        self._runs: dict[str, Runs] = {}

    def runs(self, candidate: Candidate) -> Runs:
        """What makes typed values of a candidate's runs."""
        if candidate.key not in self._runs:
            self._runs[candidate.key] = Runs(self._ctx.program(candidate), self._examples)
        return self._runs[candidate.key]

    @staticmethod
    def has_called(scores: Scores, path: str) -> bool:
        """Whether some run came to that predictor."""
        return any(step.predictor == path for rollout in scores for step in rollout.trace or ())

    def chosen(self, runs: Runs, scores: Scores, path: str, rng: random.Random) -> list[Chosen]:
        """For each run a call of that predictor: the one that could not be read, else any of them; none of failed runs."""
        found = []
        for rollout in scores:
            steps = [index for index, step in enumerate(rollout.trace or ()) if step.predictor == path]
            broken = [index for index in steps if runs.is_broken(rollout, index)]
            if broken and self._shows_broken:
                found.append(Chosen(runs, rollout, broken[0], True))
            elif steps and rollout.ok:
                found.append(Chosen(runs, rollout, rng.choice(steps), False))
        return found

    async def records(self, wanted: Sequence[tuple[str, Sequence[Chosen]]]) -> list[list[Record]]:
        """Of several predictors side by side: each call under the keys `Inputs`, `Generated Outputs` and `Feedback`."""
        asked = [self._comment(path, one) for path, calls in wanted for one in calls if not one.is_broken]
        comments = iter(await self._ctx.gather(*asked))
        return [[self._record(path, one, comments) for one in calls] for path, calls in wanted]

    def _record(self, path: str, one: Chosen, comments: Any) -> Record:
        if one.is_broken:
            step = (one.rollout.trace or ())[one.index]
            outputs: Any = f"The reply could not be read. It was:\n{step.reply}"
            feedback = f"{one.rollout.error or 'It could not be read.'}\nA reply has to have: {_form(one.runs, path)}."
        else:
            outputs = dict(one.runs.call(one.rollout, one.index)[2].items())
            feedback = self._feedback(next(comments), one.rollout)
        inputs = one.runs.call(one.rollout, one.index)[1]
        return {"Inputs": inputs, "Generated Outputs": outputs, "Feedback": feedback}

    async def _comment(self, path: str, one: Chosen) -> Mapping[str, Any]:
        """What the metric says of the call, as a step: a metric may ask a model."""
        rollout, runs = one.rollout, one.runs
        given = (
            runs.example(rollout),
            runs.prediction(rollout),
            runs.calls(rollout),
            path,
            [runs.call(rollout, one.index)],
        )
        step = fenced(bound(self._metric, *given), _read)
        identity = (rollout.example, rollout.outputs, list(rollout.trace or ()), path, one.index)
        found: Mapping[str, Any] = await self._ctx.compute("feedback", step, *identity, version=self._metric)
        return found

    def _feedback(self, said: Mapping[str, Any], rollout: Rollout) -> str:
        score, text = said.get("value", (None, None))
        if score is not None and score != rollout.score and self._tells_mismatch:
            self._tells_mismatch = False
            warnings.warn(
                f"The metric gave {score:g} for a predictor's call and {rollout.score:g} for its run; GEPA goes by the run's. "
                "warn_on_score_mismatch=False says nothing of it.",
                RuntimeWarning,
                stacklevel=2,
            )
        return text or rollout.feedback or f"The run scored {rollout.score:g}."


def _read(result: Any) -> tuple[float, str | None]:
    if not isinstance(result, Example | Mapping):
        return float(result), None
    feedback = result.get("feedback")
    return float(result["score"]), None if feedback is None else str(feedback)


def _form(runs: Runs, path: str) -> str:
    fields = runs.predictors[path].signature.compiled.outputs
    return ", ".join(f"`{f.name}` ({f.type_text}{f', {f.constraints}' if f.constraints else ''})" for f in fields)
