"""What one run of a predictor sends while its reply comes: pieces of its fields, and at the end what they lack."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dspex.core.gathered import MANY, Gathered
from dspex.core.messages import LMDelta, ToolCallPiece
from dspex.program.compiled import CompiledSignature
from dspex.program.fields import FieldInfo
from dspex.program.streaming.call_texts import FIRST_CALL, CallTexts
from dspex.program.streaming.channel import LIMIT, Channel
from dspex.program.types.base import Type
from dspex.program.types.tool_calls import ToolCalls
from dspex.program.viable import Watch

if TYPE_CHECKING:
    from dspex.plugin.adapters import ReplyParser

# Makes an event of a piece: (predictor, field, text, is_last, run, version).
Made = Callable[[str, str, str, bool, int, int], Any]


class Hearing:
    """One run of a predictor: its replies as they come, then what was made of the last one.

    It is the scope's listener while an adapter asks a model to read the reply: what comes of that is this run's too.
    """

    __slots__ = (
        *("_calls", "_channel", "_current", "_first_call", "_is_begun", "_parser", "_texts", "_watch"),
        *("fault", "is_raw", "is_watched"),
    )

    def __init__(
        self,
        channel: Channel,
        texts: Mapping[str, "FieldText"],
        *,
        is_raw: bool = False,
        first_call: Sequence[FieldInfo] = (),
    ) -> None:
        self.is_raw = is_raw
        self.is_watched = False  # whether a field that can no longer become valid is a fault
        self.fault: tuple[str, str] | None = None  # that field, and what is wrong with it
        self._watch: Watch | None = None
        self._channel = channel
        self._texts = texts
        self._first_call = [field.name for field in first_call]  # where its name goes, and its arguments
        self._calls: CallTexts | None = None
        self._parser: ReplyParser | None = None
        self._current: FieldText | None = None
        self._is_begun = False

    def hearing(self, predict: Any, compiled: CompiledSignature) -> "Hearing":
        """Itself, for whatever predictor is asked within this run."""
        return self

    async def room(self) -> None:
        """Wait while the reader is behind."""
        if self._channel.is_full:
            await self._channel.room()

    def begin(self, adapter: Any, compiled: CompiledSignature) -> None:
        """A reply in that adapter's form begins; what an earlier one of this run said does not hold."""
        made = getattr(adapter, "parser", None)
        self._parser = None if made is None or (self.is_raw and not self.is_watched) else made(compiled)
        self._watch, self.fault = Watch(compiled) if self.is_watched else None, None
        self._current, self._calls, self._is_begun = None, None, False
        for text in self._texts.values():
            text.restart()

    def hear(self, delta: LMDelta, reasoning: FieldInfo | None, calls: FieldInfo | None = None) -> bool:
        """A piece of the reply; `reasoning` is the field of what the model thought, `calls` of its calls.

        Returns whether to await `room`.
        """
        if self.is_raw and (self._is_begun or delta.finish_reason is None):  # a reply of one piece was not streamed
            self._is_begun = True
            self._channel.put(delta)
        if self._parser is not None and delta.text:
            self._read(self._parser, delta.text)
        if delta.reasoning and reasoning is not None and (text := self._texts.get(reasoning.name)) is not None:
            text.send(delta.reasoning)
        if delta.tool_call_pieces and calls is not None:
            self._hear_calls(delta.tool_call_pieces, calls)
        return len(self._channel.items) >= LIMIT

    def _hear_calls(self, pieces: Sequence[ToolCallPiece], field: FieldInfo) -> None:
        if self._calls is None:
            name, arguments = map(self._texts.get, self._first_call or ("", ""))
            self._calls = CallTexts(self._texts.get(field.name), name, arguments)
        self._calls.hear(pieces)

    def _read(self, parser: "ReplyParser", text: str | None) -> None:
        """Send what the parser makes of a further text, or (None) of the end."""
        try:
            pieces = parser.end() if text is None else parser.feed(text)
            for name, piece in pieces:
                field = self._texts.get(name)
                if field is not self._current:
                    if self._current is not None:
                        self._current.close()
                    self._current = field
                if piece and field is not None:
                    field.send(piece)
            if self._watch is not None and self.fault is None:
                self.fault = self._watch.heard(pieces)
        except Exception as error:  # noqa: BLE001  the adapter is a plugin, and its fields can come whole
            self._parser = None
            name = type(parser).__name__
            warnings.warn(
                f"{name} failed, so its fields come when the reply is whole: {error!r}", RuntimeWarning, stacklevel=2
            )

    async def settle(self, outputs: Mapping[str, Any]) -> None:
        """Send what is left of each field, and anew what does not say the same as the prediction."""
        if self._parser is not None:
            self._read(self._parser, None)
        if self._calls is not None:
            self._calls.end()
        values = {**outputs, **_of_first_call(self._first_call, outputs)} if self._first_call else outputs
        for name, text in self._texts.items():
            text.settle(values.get(name))
        await self.room()


def _shown(value: Any) -> Any:
    """As a prompt has it: a call's id, which a server may lack or say late, is no part of that."""
    return value.format() if isinstance(value, Type) else value


def first_call_of(compiled: CompiledSignature) -> Sequence[FieldInfo]:
    """The fields of another signature that this one's first call stands for: its name, its arguments."""
    found: Sequence[FieldInfo] = compiled.templates.get(FIRST_CALL, ())
    return found


def _of_first_call(fields: Sequence[str], outputs: Mapping[str, Any]) -> dict[str, Any]:
    calls = next((value for value in outputs.values() if isinstance(value, ToolCalls)), None)
    first = calls.tool_calls[0] if calls else None
    return {} if first is None else dict(zip(fields, (first.name, dict(first.args)), strict=True))


class FieldText:
    """The text of one field in one run, as far as it was sent; `name` is what its predictor is called."""

    __slots__ = ("_channel", "_field", "_is_closed", "_made", "_name", "_run", "_sent", "_version")

    def __init__(self, channel: Channel, field: FieldInfo, name: str, run: int, made: Made) -> None:
        self._channel = channel
        self._field = field
        self._name = name
        self._run = run
        self._made = made
        self._version = 0
        self._sent = Gathered()
        self._is_closed = False

    def restart(self) -> None:
        """Begin a new version if anything was sent."""
        if self._sent or self._is_closed:
            self._version += 1
            self._sent, self._is_closed = Gathered(), False

    def send(self, piece: str, *, is_last: bool = False) -> None:
        """Send a piece."""
        if self._is_closed:
            self.restart()
        sent = self._sent
        sent.add(piece)
        if len(sent.pieces) >= MANY:
            sent.draw()
        self._is_closed = is_last
        self._channel.put(self._made(self._name, self._field.name, piece, is_last, self._run, self._version))

    def close(self) -> None:
        """The field is over."""
        if self._sent and not self._is_closed:
            self.send("", is_last=True)

    def settle(self, value: Any) -> None:
        """Make what was sent mean `value`."""
        sent, is_text = self._sent.text, self._field.annotation is str
        if is_text and isinstance(value, str) and value.startswith(sent) and not self._is_closed:
            self.send(value[len(sent) :], is_last=True)
        elif not self._says(value, sent, is_text=is_text):
            self.restart()
            self.send(value if is_text and isinstance(value, str) else self._field.render(value), is_last=True)
        elif value is not None and not self._is_closed:
            self.send("", is_last=True)
        else:
            self.close()

    def _says(self, value: Any, sent: str, *, is_text: bool) -> bool:
        if value is None and not self._sent:
            return True
        try:
            said = sent if is_text else self._field.decode(sent)
            return bool(said == value or _shown(said) == _shown(value))
        except (ValueError, TypeError):
            return False
