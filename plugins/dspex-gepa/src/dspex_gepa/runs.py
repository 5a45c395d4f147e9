"""Traced runs as metrics and selectors know them: examples, predictions, and (predictor, inputs, prediction) of each call."""

from collections.abc import Mapping
from typing import Any

from dspex import Example, Module, Prediction, Rollout

Call = tuple[Module | None, dict[str, Any], Prediction]


class Runs:
    """Makes typed values of the data that a journal holds, by the signatures of a program of the same structure."""

    def __init__(self, program: Module, examples: Mapping[str, Example]) -> None:
        self.predictors: dict[str, Any] = dict(program.named_predictors())
        self._examples = examples

    def example(self, rollout: Rollout) -> Example:
        """What was run."""
        return self._examples[rollout.example]

    def calls(self, rollout: Rollout) -> list[Call]:
        """The calls in their order, those that failed left out."""
        return [
            self.call(rollout, index) for index in range(len(rollout.trace or ())) if not self.is_broken(rollout, index)
        ]

    def call(self, rollout: Rollout, index: int) -> Call:
        """One of them."""
        step = (rollout.trace or ())[index]
        compiled = self.predictors[step.predictor].signature.compiled
        fields = {field.name: field for field in (*compiled.inputs, *compiled.outputs)}
        return self.predictors[step.predictor], _typed(fields, step.inputs), Prediction(_typed(fields, step.outputs))

    @staticmethod
    def is_broken(rollout: Rollout, index: int) -> bool:
        """Whether its reply could not be read."""
        return (rollout.trace or ())[index].reply is not None

    def prediction(self, rollout: Rollout) -> Prediction:
        """What the program gave; a value that a predictor made has its type."""
        given = rollout.outputs
        made = dict(given)
        for index, step in enumerate(rollout.trace or ()):
            typed = self.call(rollout, index)[2]
            made |= {
                name: typed[name] for name, value in step.outputs.items() if name in given and given[name] == value
            }
        return Prediction(made)

    def trajectory(self, rollout: Rollout, place: int) -> dict[str, Any]:
        """All of a run, in DSPy's form."""
        return {
            "example_ind": place,
            "example": self.example(rollout),
            "prediction": self.prediction(rollout),
            "trace": self.calls(rollout),
            "score": rollout.score,
        }


def _typed(fields: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    made = {}
    for name, value in values.items():
        field = fields.get(name)
        try:
            # Types, as a picture, are restored: `convert` of an input makes the text that a prompt has.
            made[name] = value if field is None else (field.restore or field.convert)(value)
        except (TypeError, ValueError):
            made[name] = value  # a program may give another type than its signature says
    return made
