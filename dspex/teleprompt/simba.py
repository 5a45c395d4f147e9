"""DSPy's path of SIMBA."""

from dspex.teleprompt import __getattr__

__all__ = ["__getattr__"]
