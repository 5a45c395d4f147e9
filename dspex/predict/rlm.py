"""DSPy's path of RLM."""

from dspex.program.rlm import RLM

__all__ = ["RLM"]
