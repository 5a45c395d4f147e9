"""DSPy's path of LabeledFewShot."""

from dspex.teleprompt import __getattr__

__all__ = ["__getattr__"]
