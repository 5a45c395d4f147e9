"""DSPy's path of LM."""

from dspex.app.lm import LM

__all__ = ["LM"]
