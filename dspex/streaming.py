"""What programs import from `dspy.streaming`, under dspex's name."""

from dspex.program.streaming.events import StatusMessage, StreamResponse
from dspex.program.streaming.listener import StreamListener
from dspex.program.streaming.status import StatusMessageProvider
from dspex.program.streaming.streamify import streamify, streaming_response, sync_send_to_stream
from dspex.program.streaming.sync_iterator import apply_sync_streaming

__all__ = [
    "StatusMessage",
    "StatusMessageProvider",
    "StreamListener",
    "StreamResponse",
    "apply_sync_streaming",
    "streamify",
    "streaming_response",
    "sync_send_to_stream",
]
