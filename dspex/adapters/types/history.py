"""DSPy's path of History."""

from dspex.program.types.history import History

__all__ = ["History"]
