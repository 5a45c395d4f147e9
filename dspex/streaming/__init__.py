"""Streaming: the events of `Module.astream`, and what programs import from `dspy.streaming`, under dspex's name."""

from dspex.program.streaming.events import (
    Failed,
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
from dspex.program.streaming.sse import sse
from dspex.program.streaming.status import StatusMessageProvider
from dspex.program.streaming.streamify import streamify, streaming_response, sync_send_to_stream
from dspex.program.streaming.sync_iterator import apply_sync_streaming
from dspex.program.streaming.web import aiohttp_sse, asgi_sse

__all__ = [
    "Failed",
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
    "aiohttp_sse",
    "apply_sync_streaming",
    "asgi_sse",
    "sse",
    "streamify",
    "streaming_response",
    "sync_send_to_stream",
]
