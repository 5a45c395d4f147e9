"""DSPy's path of COPRO, from before it had that name."""

from dspex.teleprompt import __getattr__

__all__ = ["__getattr__"]
