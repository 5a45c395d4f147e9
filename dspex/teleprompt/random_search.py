"""DSPy's path of BootstrapFewShotWithRandomSearch."""

from dspex.teleprompt import __getattr__

__all__ = ["__getattr__"]
