"""DSPy's path of Ensemble."""

from dspex.teleprompt import __getattr__

__all__ = ["__getattr__"]
