"""ChainOfThought: a Predict that writes its reasoning first."""

from collections.abc import Sequence
from typing import Any

from dspex.core.example import Prediction
from dspex.program.fields import OutputField
from dspex.program.module import Module
from dspex.program.predict import Predict
from dspex.program.signature import ensure_signature


class ChainOfThought(Module):
    """Adds the output field `reasoning` before the others; the Predict inside is `.predict`."""

    _steps = True

    def __init__(
        self,
        signature: Any,
        rationale_field: Any = None,
        rationale_field_type: Any = str,
        callbacks: Sequence[Any] | None = None,
        **config: Any,
    ) -> None:
        super().__init__(callbacks)
        field = rationale_field or OutputField(desc="step by step, before the answer")
        self.predict = Predict(ensure_signature(signature).prepend("reasoning", field, rationale_field_type), **config)

    async def aforward(self, **kwargs: Any) -> Prediction:
        """One prediction with its reasoning."""
        return await self.predict.acall(**kwargs)
