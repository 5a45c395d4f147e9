"""Streaming: the events of `Module.astream`, and what programs import from `dspy.streaming`, under dspex's name."""

from dspex.program.streaming.events import (
    FieldDelta,
    Finished,
    Sent,
    StatusMessage,
    StreamEvent,
    StreamResponse,
    ToolFinished,
    ToolStarted,
)
from dspex.program.streaming.listener import StreamListener
from dspex.program.streaming.status import StatusMessageProvider
from dspex.program.streaming.streamify import streamify, streaming_response, sync_send_to_stream
from dspex.program.streaming.sync_iterator import apply_sync_streaming

__all__ = [
    "FieldDelta",
    "Finished",
    "Sent",
    "StatusMessage",
    "StatusMessageProvider",
    "StreamEvent",
    "StreamListener",
    "StreamResponse",
    "ToolFinished",
    "ToolStarted",
    "apply_sync_streaming",
    "streamify",
    "streaming_response",
    "sync_send_to_stream",
]
