"""DSPy's path of StreamListener."""

from dspex.program.streaming.listener import StreamListener

__all__ = ["StreamListener"]
