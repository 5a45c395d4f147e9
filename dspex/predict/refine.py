"""DSPy's path of Refine."""

from dspex.program.refine import Refine

__all__ = ["Refine"]
