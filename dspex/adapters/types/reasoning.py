"""DSPy's path of Reasoning."""

from dspex.program.types.reasoning import Reasoning

__all__ = ["Reasoning"]
