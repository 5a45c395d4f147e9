"""DSPy's path of COPRO."""

from dspex.teleprompt import __getattr__

__all__ = ["__getattr__"]
