"""EveryField: who listens to all output fields of all predictors, and names each piece's predictor."""

import threading
from collections import Counter
from typing import Any
from weakref import WeakKeyDictionary

from dspex.program.compiled import CompiledSignature
from dspex.program.streaming.channel import Channel
from dspex.program.streaming.events import FieldDelta
from dspex.program.streaming.hearing import FieldText, Hearing


class EveryField:
    """What is listened to in one call of `Module.astream`; the scope's `listener`.

    Predictors of the program are called by their paths, others by their class, and by a number where several have it.
    """

    def __init__(self, program: Any, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()  # predictors may be asked from several loops at once
        # What a program makes anew each time must not be kept for the stream's sake.
        self._names: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self._strangers: Counter[str] = Counter()
        self._runs: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        for path, part in program.named_predictors():
            self._names[part] = path

    async def room(self) -> None:
        """Wait while the reader is behind."""
        await self._channel.room()

    def hearing(self, predict: Any, compiled: CompiledSignature) -> Hearing:
        """What one run of a predictor sends."""
        with self._lock:
            name = self._names.get(predict) or self._named(predict)
            run = self._runs.get(predict, 0)
            self._runs[predict] = run + 1
        fields = compiled.outputs
        return Hearing(
            self._channel, {field.name: FieldText(self._channel, field, name, run, FieldDelta) for field in fields}
        )

    def _named(self, predict: Any) -> str:
        kind = type(predict).__name__
        self._strangers[kind] += 1
        number = self._strangers[kind]
        name = self._names[predict] = kind if number == 1 else f"{kind}#{number}"
        return name
