"""Who listens to which field, and what one run of a predictor sends while its reply comes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dspex.core.errors import ConfigurationError
from dspex.core.messages import LMDelta
from dspex.core.nearest import did_you_mean
from dspex.program.adapters.chat_stream import Pieces
from dspex.program.compiled import CompiledSignature
from dspex.program.fields import FieldInfo
from dspex.program.module import Module
from dspex.program.streaming.channel import Channel
from dspex.program.streaming.events import StreamResponse

UNNAMED = "self"


class StreamListener:
    """Wants the text of an output field while it comes.

    `predict` is the predictor, where several of the program have that field; `predict_name` what responses call it.
    With `allow_reuse` each run of the predictor in a call of the program is heard, else the first one. It keeps no
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
        paths = ", ".join(path for path, _ in found)
        raise ConfigurationError(f"Several predictors have the field {field!r}: {paths}. Say which by predict=.")
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

    def hearing(self, predict: Any, compiled: CompiledSignature) -> "Hearing | None":
        """What one run of a predictor sends; None if nobody wants to hear it."""
        if not self._wanted:
            return Hearing(self._channel, compiled, {}, is_raw=True)
        texts = {}
        for place, wanted in enumerate(self._wanted):
            if wanted.predict is not predict and wanted.predict is not None:
                continue
            field = compiled.fields.get(wanted.field)
            if field is None or field.role != "output" or (self._runs[place] and not wanted.allow_reuse):
                continue
            texts[wanted.field] = _Text(self._channel, field, wanted.name, self._runs[place])
            self._runs[place] += 1
        return Hearing(self._channel, compiled, texts) if texts else None


class Hearing:
    """One run of a predictor: its replies as they come, then what was made of the last one."""

    __slots__ = ("_channel", "_current", "_is_begun", "_parser", "_texts", "is_raw")

    def __init__(
        self, channel: Channel, compiled: CompiledSignature, texts: Mapping[str, "_Text"], *, is_raw: bool = False
    ) -> None:
        self.is_raw = is_raw
        self._channel = channel
        self._texts = texts
        self._parser: Any = None
        self._current: _Text | None = None
        self._is_begun = False

    def begin(self, adapter: Any, compiled: CompiledSignature) -> None:
        """A reply in that adapter's form begins; what an earlier one of this run said does not hold."""
        made = getattr(adapter, "parser", None)
        self._parser = None if made is None or self.is_raw else made(compiled)
        self._current, self._is_begun = None, False
        for text in self._texts.values():
            text.restart()

    async def hear(self, delta: LMDelta, reasoning: FieldInfo | None) -> None:
        """A piece of the reply; waits while the reader is behind. `reasoning` is the field of what the model thought."""
        if self.is_raw:
            # A reply of one piece was not streamed.
            if self._is_begun or delta.finish_reason is None:
                self._is_begun = True
                self._channel.put(delta)
        elif delta.text and self._parser is not None:
            self._send(self._parser.feed(delta.text))
        if delta.reasoning and reasoning is not None:
            self._send(((reasoning.name, delta.reasoning),))
        if self._channel.is_full:
            await self._channel.room()

    def _send(self, pieces: Pieces) -> None:
        for name, piece in pieces:
            text = self._texts.get(name)
            if text is not self._current:
                if self._current is not None:
                    self._current.close()
                self._current = text
            if text is not None and piece:
                text.send(piece)

    async def settle(self, outputs: Mapping[str, Any]) -> None:
        """Send what is left of each field, and anew what does not say the same as the prediction."""
        if self._parser is not None:
            self._send(self._parser.end())
        for name, text in self._texts.items():
            text.settle(outputs.get(name))
        if self._channel.is_full:
            await self._channel.room()


class _Text:
    """The text of one field in one run, as far as it was sent."""

    __slots__ = ("_channel", "_field", "_is_closed", "_name", "_run", "_sent", "_version")

    def __init__(self, channel: Channel, field: FieldInfo, name: str, run: int) -> None:
        self._channel = channel
        self._field = field
        self._name = name
        self._run = run
        self._version = 0
        self._sent: list[str] = []
        self._is_closed = False

    def restart(self) -> None:
        """Begin a new version if anything was sent."""
        if self._sent or self._is_closed:
            self._version += 1
            self._sent, self._is_closed = [], False

    def send(self, piece: str, *, is_last: bool = False) -> None:
        """Send a piece."""
        if self._is_closed:
            self.restart()
        self._sent.append(piece)
        self._is_closed = is_last
        response = StreamResponse(self._name, self._field.name, piece, is_last, self._run, self._version)
        self._channel.put(response)

    def close(self) -> None:
        """The field is over."""
        if self._sent and not self._is_closed:
            self.send("", is_last=True)

    def settle(self, value: Any) -> None:
        """Make what was sent mean `value`."""
        sent, is_text = "".join(self._sent), self._field.annotation is str
        if is_text and isinstance(value, str) and value.startswith(sent) and not self._is_closed:
            self.send(value[len(sent) :], is_last=True)
        elif not self._says(value, sent, is_text=is_text):
            self.restart()
            self.send(value if isinstance(value, str) else self._field.render(value), is_last=True)
        else:
            self.close()

    def _says(self, value: Any, sent: str, *, is_text: bool) -> bool:
        if value is None and not self._sent:
            return True
        try:
            return bool((sent if is_text else self._field.decode(sent)) == value)
        except (ValueError, TypeError):
            return False
