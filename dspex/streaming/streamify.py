"""DSPy's path of streamify."""

from dspex.program.streaming.streamify import streamify, streaming_response
from dspex.program.streaming.sync_iterator import apply_sync_streaming

__all__ = ["apply_sync_streaming", "streamify", "streaming_response"]
