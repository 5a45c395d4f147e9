"""DSPy's path of MIPROv2."""

from dspex.teleprompt import __getattr__

__all__ = ["__getattr__"]
