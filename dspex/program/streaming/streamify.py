"""streamify: a program whose call gives what happens in it while it happens, and the prediction at the end."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from typing import Any

import msgspec

from dspex.core.example import Prediction
from dspex.core.identity import plain
from dspex.program.streaming.channel import Channel, SendStream
from dspex.program.streaming.events import StatusMessage, StreamResponse
from dspex.program.streaming.listener import Session, StreamListener, resolved
from dspex.program.streaming.run import Ears, Run
from dspex.program.streaming.status import StatusCallback, StatusMessageProvider
from dspex.program.sync import asyncify


def streamify(  # noqa: PLR0917  DSPy's order
    program: Callable[..., Any],
    status_message_provider: StatusMessageProvider | None = None,
    stream_listeners: Sequence[StreamListener] | None = None,
    include_final_prediction_in_output_stream: bool = True,
    is_async_program: bool = False,
    async_streaming: bool = True,
) -> Callable[..., Any]:
    """The program as a function that gives an async generator (`async_streaming=False`: a plain one).

    It yields StatusMessages, StreamResponses of the fields that are listened to, whatever the program sends to
    `dspex.settings.send_stream`, and last the program's result, which is equal to that of a plain call. Without
    listeners the LMDeltas of replies that come in pieces are given as they are. Without
    `include_final_prediction_in_output_stream` the result is given only where nothing else was. Each call has state of
    its own, so that one function serves many at once. Leaving the generator early cancels the program and closes its
    request; an error of the program is raised where it happened in the stream.

    `is_async_program` is not needed: what is async runs on the caller's loop, other code in a thread. Raises
    ConfigurationError for a listener of a field that no predictor has, or that several have.
    """
    listeners = list(stream_listeners or ())
    wanted = resolved(program, listeners)
    provider = status_message_provider or StatusMessageProvider()
    call = getattr(program, "acall", program) if is_async_program else asyncify(program)

    def ears(channel: Channel) -> Ears:
        return Ears(Session(wanted, channel), (StatusCallback(provider, channel),), SendStream(channel))

    def last(result: Any, is_empty: bool) -> tuple[Any, ...]:
        return (result,) if is_empty or include_final_prediction_in_output_stream else ()

    def streamed(*args: Any, **kwargs: Any) -> Run:
        return Run(lambda: call(*args, **kwargs), ears, last)

    if async_streaming:
        return lambda *args, **kwargs: streamed(*args, **kwargs).items()
    return lambda *args, **kwargs: streamed(*args, **kwargs).sync_items()


async def streaming_response(streamer: AsyncIterable[Any]) -> AsyncGenerator[str, None]:
    """What a streamed program gives as server-sent events, the last one `data: [DONE]`.

    Each is an object with one key: `status`, `chunk` (a StreamResponse or LMDelta), `prediction`, or `item` for an
    object of the program's own. Text that begins with `data:` goes out as it is.
    """
    async for item in streamer:
        yield item if isinstance(item, str) and item.startswith("data:") else _event(item)
    yield "data: [DONE]\n\n"


def _event(item: Any) -> str:
    if isinstance(item, StatusMessage):
        data: dict[str, Any] = {"status": item.message}
    elif isinstance(item, Prediction):
        data = {"prediction": plain(item.toDict())}
    else:
        kind = "chunk" if isinstance(item, StreamResponse) or hasattr(item, "finish_reason") else "item"
        data = {kind: plain(item)}
    return f"data: {msgspec.json.encode(data).decode()}\n\n"


def sync_send_to_stream(stream: SendStream, message: Any) -> None:
    """Send an object of one's own from sync code."""
    stream.send_nowait(message)
