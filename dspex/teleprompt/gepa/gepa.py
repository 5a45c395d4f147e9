"""DSPy's path of GEPA."""

from dspex.teleprompt import __getattr__

__all__ = ["__getattr__"]
