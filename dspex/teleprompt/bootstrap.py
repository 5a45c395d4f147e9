"""DSPy's path of BootstrapFewShot."""

from dspex.teleprompt import __getattr__

__all__ = ["__getattr__"]
