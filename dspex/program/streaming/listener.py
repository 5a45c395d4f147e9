"""StreamListener: who listens to which field of which predictor."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from dspex.core.errors import ConfigurationError
from dspex.core.nearest import did_you_mean
from dspex.program.compiled import CompiledSignature
from dspex.program.module import Module
from dspex.program.streaming.channel import Channel
from dspex.program.streaming.events import StreamResponse
from dspex.program.streaming.hearing import FieldText, Hearing, first_call_of

UNNAMED = "self"


class StreamListener:
    """Wants the text of an output field while it comes.

    `predict` is the predictor, where several of the program have that field; `predict_name` what responses call it,
    and where `predict` is not given, and it is the path of one of those, says which. With `allow_reuse` each run of the predictor in a call of the program is heard, else the first one. It keeps no
    state: one listener serves any number of calls, also at once.
    """

    def __init__(
        self,
        signature_field_name: str,
        predict: Any = None,
        predict_name: str | None = None,
        allow_reuse: bool = False,
    ) -> None:
        self.signature_field_name = signature_field_name
        self.predict = predict
        self.predict_name = predict_name
        self.allow_reuse = allow_reuse

    def __repr__(self) -> str:
        return f"StreamListener({self.signature_field_name!r})"


class Wanted:
    """A listener and the predictor that it was found to mean; None: any that has the field."""

    __slots__ = ("allow_reuse", "field", "name", "predict")

    def __init__(self, listener: StreamListener, predict: Any, name: str | None) -> None:
        self.field = listener.signature_field_name
        self.allow_reuse = listener.allow_reuse
        self.predict = predict
        self.name = listener.predict_name or name or UNNAMED


def resolved(program: Any, listeners: Sequence[StreamListener]) -> list[Wanted]:
    """Each listener with its predictor. Raises ConfigurationError for a field that no predictor has, or several have.

    The predictors of a plain function are not known: there a field is that of any predictor.
    """
    predictors = program.named_predictors() if isinstance(program, Module) else []
    return [_resolved(listener, predictors, is_known=isinstance(program, Module)) for listener in listeners]


def _resolved(listener: StreamListener, predictors: list[tuple[str, Any]], *, is_known: bool) -> Wanted:
    field, predict = listener.signature_field_name, listener.predict
    if predict is not None:
        signature = getattr(predict, "signature", None)
        if signature is None:
            raise ConfigurationError(f"{listener!r}: predict= takes a Predict, not {predict!r:.80}.")
        _check(field, [output.name for output in signature.compiled.outputs], f"`{signature.signature}`")
        return Wanted(listener, predict, next((path for path, part in predictors if part is predict), None))
    if not is_known:
        return Wanted(listener, None, None)
    found = [(path, part) for path, part in predictors if field in _outputs(part)]
    if len(found) > 1:
        found = [(path, part) for path, part in found if path == listener.predict_name] or found
    if len(found) > 1:
        paths = ", ".join(path for path, _ in found)
        raise ConfigurationError(
            f"Several predictors have the field {field!r}: {paths}. Say which by predict=, or predict_name=."
        )
    if not found:
        known = [output for _, part in predictors for output in _outputs(part)]
        _check(field, known, "the program")
    return Wanted(listener, found[0][1], found[0][0])


def _check(field: str, known: list[str], where: str) -> None:
    if field not in known:
        outputs = ", ".join(dict.fromkeys(known)) or "none"
        raise ConfigurationError(
            f"There is no output field {field!r} in {where}.{did_you_mean(field, known)} Outputs: {outputs}."
        )


def _outputs(predict: Any) -> list[str]:
    return [field.name for field in predict.signature.compiled.outputs]


class Session:
    """What is listened to in one call of a streamed program; the scope's `listener`."""

    def __init__(self, wanted: Sequence[Wanted], channel: Channel) -> None:
        self._wanted = wanted
        self._channel = channel
        self._runs: Counter[int] = Counter()

    async def room(self) -> None:
        """Wait while the reader is behind."""
        await self._channel.room()

    def hearing(self, predict: Any, compiled: CompiledSignature) -> Hearing | None:
        """What one run of a predictor sends; None if nobody wants to hear it."""
        if not self._wanted:
            return Hearing(self._channel, {}, is_raw=True)
        texts, first_call = {}, first_call_of(compiled)
        fields = {**{field.name: field for field in first_call}, **compiled.fields} if first_call else compiled.fields
        for place, wanted in enumerate(self._wanted):
            if wanted.predict is not predict and wanted.predict is not None:
                continue
            field = fields.get(wanted.field)
            if field is None or field.role != "output" or (self._runs[place] and not wanted.allow_reuse):
                continue
            texts[wanted.field] = FieldText(self._channel, field, wanted.name, self._runs[place], StreamResponse)
            self._runs[place] += 1
        return Hearing(self._channel, texts, first_call=first_call) if texts else None
