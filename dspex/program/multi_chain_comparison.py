"""MultiChainComparison: several attempts at an answer, compared by the model into a better one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dspex.core.errors import ConfigurationError, InputError
from dspex.core.example import Example, Prediction
from dspex.program.fields import InputField, OutputField
from dspex.program.module import Module
from dspex.program.predict import Predict
from dspex.program.signature import signature_class
from dspex.program.values import render


class MultiChainComparison(Module):
    """Called with `M` attempts and the inputs: gives `rationale` and the outputs, made by comparing the attempts.

    `completions` are Predictions or dictionaries with `rationale` or `reasoning` and the last output, or the one
    Prediction of a call with `n=M`. The Predict inside is `.predict`. Raises InputError where attempts are missing or
    lack a field.
    """

    _steps = True

    def __init__(
        self,
        signature: Any,
        M: int = 3,  # noqa: N803  DSPy's name
        temperature: float | None = 0.7,
        callbacks: Sequence[Any] | None = None,
        **config: Any,
    ) -> None:
        super().__init__(callbacks)
        if M < 1:
            raise ConfigurationError(f"MultiChainComparison compares at least one attempt, not M={M}.")
        self.M = M
        own = signature_class(signature)
        *_, self.last_key = own.output_fields
        for number in range(1, M + 1):
            field = InputField(prefix=f"Attempt {number}:", desc="an earlier attempt, which may be wrong")
            own = own.append(f"reasoning_attempt_{number}", field, str)
        judged = OutputField(desc="what is right and wrong in the attempts, and so the right way to the answer")
        own = own.prepend("rationale", judged, str)
        self.predict = Predict(own, temperature=temperature, **config)

    async def aforward(self, completions: Any, **kwargs: Any) -> Prediction:
        """One prediction made of the attempts."""
        attempts = list(_rows(completions))
        if len(attempts) != self.M:
            raise InputError(f"This MultiChainComparison compares M={self.M} attempts; it was given {len(attempts)}.")
        shown = {
            f"reasoning_attempt_{number}": self._shown(number, attempt) for number, attempt in enumerate(attempts, 1)
        }
        prediction: Prediction = await self.predict.acall(**shown, **kwargs)
        return prediction

    def _recipe(self) -> dict[str, Any]:
        return {"signature": self.predict.signature.to_json_schema(), "M": self.M}

    def _shown(self, number: int, attempt: Mapping[str, Any]) -> str:
        if not isinstance(attempt, (Mapping, Example)):
            raise InputError(f"Attempt {number} is a Prediction or a dict, not {attempt!r:.80}.")
        reasoning = attempt.get("rationale", attempt.get("reasoning"))
        if reasoning is None or self.last_key not in attempt:
            raise InputError(
                f"Attempt {number} needs `rationale` or `reasoning`, and `{self.last_key}`; it has: {', '.join(attempt)}."
            )
        # Its lines are joined, so that it cannot look like more than one attempt.
        return f"{' '.join(str(reasoning).split())} So `{self.last_key}` is: {render(attempt[self.last_key]).strip()}"

    def _traits(self) -> Mapping[str, Any]:
        return {"M": self.M}


def _rows(completions: Any) -> Iterable[Any]:
    if isinstance(completions, Prediction):
        return completions.completions or [completions]
    if not isinstance(completions, Iterable):
        raise InputError(f"The attempts are a Prediction or a list of them, not {completions!r:.80}.")
    return completions
