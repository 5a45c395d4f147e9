"""DSPy's path of what loads whole programs."""

from dspex.program.loading import load

__all__ = ["load"]
