"""ChainOfThought: a Predict that writes its reasoning first."""

from collections.abc import Mapping, Sequence
from typing import Any, overload

from dspex.core.example import Prediction
from dspex.program.fields import OutputField
from dspex.program.predict import Predict
from dspex.program.signature import signature_class
from dspex.program.typed import P, Q, S_co, SignatureClass, SignatureModule, T


class ChainOfThought(SignatureModule[P, S_co]):
    """Adds the output field `reasoning` before the others; the Predict inside is `.predict`."""

    _steps = True

    @overload
    def __init__(
        self: "ChainOfThought[Q, T]",
        signature: SignatureClass[Q, T],
        rationale_field: Any = None,
        rationale_field_type: Any = str,
        callbacks: Sequence[Any] | None = None,
        **config: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: "ChainOfThought[..., T]",
        signature: type[T],
        rationale_field: Any = None,
        rationale_field_type: Any = str,
        callbacks: Sequence[Any] | None = None,
        **config: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: "ChainOfThought[..., Prediction]",
        signature: str | Mapping[str, Any],
        rationale_field: Any = None,
        rationale_field_type: Any = str,
        callbacks: Sequence[Any] | None = None,
        **config: Any,
    ) -> None: ...
    def __init__(
        self,
        signature: Any,
        rationale_field: Any = None,
        rationale_field_type: Any = str,
        callbacks: Sequence[Any] | None = None,
        **config: Any,
    ) -> None:
        super().__init__(callbacks)
        self.predict = Predict(_reasoned(signature_class(signature), rationale_field, rationale_field_type), **config)

    async def aforward(self, **kwargs: Any) -> Prediction:
        """One prediction with its reasoning."""
        prediction: Prediction = await self.predict.acall(**kwargs)
        return prediction

    def _recipe(self) -> dict[str, Any]:
        return {"signature": self.predict.signature.to_json_schema()}


def _reasoned(signature: Any, field: Any, kind: Any) -> Any:
    """The signature with its reasoning before all other outputs; one that it has itself stays as it is written."""
    if (own := signature.output_fields.get("reasoning")) is not None:
        signature, field, kind = signature.delete("reasoning"), own, own.annotation
    return signature.prepend("reasoning", field or OutputField(desc="step by step, before the answer"), kind)
