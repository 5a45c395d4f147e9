"""DSPy's path of InferRules."""

from dspex.teleprompt import __getattr__

__all__ = ["__getattr__"]
