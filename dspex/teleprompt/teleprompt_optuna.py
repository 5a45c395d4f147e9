"""DSPy's path of BootstrapFewShotWithOptuna."""

from dspex.teleprompt import __getattr__

__all__ = ["__getattr__"]
