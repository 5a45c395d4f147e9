"""DSPy's path of Retrieve."""

from dspex.program.retrieve import Retrieve

__all__ = ["Retrieve"]
