"""DSPy's path of ChatAdapter."""

from dspex.program.adapters.chat import ChatAdapter

__all__ = ["ChatAdapter"]
