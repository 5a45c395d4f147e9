"""DSPy's path of BetterTogether."""

from dspex.teleprompt import __getattr__

__all__ = ["__getattr__"]
