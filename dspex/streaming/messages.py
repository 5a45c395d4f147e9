"""DSPy's path of what a stream sends."""

from dspex.program.streaming.events import StatusMessage, StreamResponse
from dspex.program.streaming.status import StatusMessageProvider
from dspex.program.streaming.streamify import sync_send_to_stream

__all__ = ["StatusMessage", "StatusMessageProvider", "StreamResponse", "sync_send_to_stream"]
