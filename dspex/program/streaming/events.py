"""What a streamed program sends."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

R_co = TypeVar("R_co", covariant=True)


class StreamEvent(msgspec.Struct, frozen=True, tag=True):
    """Base of what `Module.astream` gives; encoded, its key `type` names the class."""


class FieldDelta(StreamEvent, frozen=True, gc=False):
    """A piece of an output field's text, as the model writes it; the last one may be empty.

    `predictor` is the predictor's path in the program ("self", if it is that), or its class's name where it is no part
    of it. `run` counts the calls of the predictor from 0. The pieces of one run with the highest `version`, joined, are
    the field's text: a new version begins where what was sent does not hold, because the model was asked again or the
    reply turned out to mean something else.
    """

    predictor: str
    field: str
    text: str
    is_last: bool = False
    run: int = 0
    version: int = 0


class ToolStarted(StreamEvent, frozen=True):
    """A tool is about to run; `path` names the modules that are running, outermost first."""

    tool: str
    arguments: Mapping[str, Any]
    call_id: str
    path: tuple[str, ...] = ()


class ToolFinished(StreamEvent, frozen=True):
    """The tool of that `call_id` has ended, with `output`, or with `error` in words."""

    tool: str
    call_id: str
    output: Any = None
    error: str | None = None
    path: tuple[str, ...] = ()


class StatusMessage(StreamEvent, frozen=True):
    """What the program is doing, in words; `path` names the modules that are running, where that is known."""

    message: str
    path: tuple[str, ...] = ()


class Sent(StreamEvent, frozen=True):
    """An object that the program itself sent to `dspex.settings.send_stream`."""

    item: Any


class Finished(StreamEvent, Generic[R_co], frozen=True):
    """The last event: the program's result, equal to that of a plain call."""

    prediction: R_co


# What `Module.astream` gives of a program whose result is an R.
EventOf = FieldDelta | ToolStarted | ToolFinished | StatusMessage | Sent | Finished[R_co]


class Failed(StreamEvent, frozen=True):
    """The last event of a stream that goes over a wire (`sse`), where the program raised: the error's class, and words."""

    error: str
    message: str = ""


class StreamResponse(msgspec.Struct, frozen=True, gc=False):
    """A FieldDelta under DSPy's names, as `streamify` gives it."""

    predict_name: str
    signature_field_name: str
    chunk: str
    is_last_chunk: bool
    run: int = 0
    version: int = 0
