"""DSPy's path of syncify."""

from dspex.program.sync import syncify

__all__ = ["syncify"]
