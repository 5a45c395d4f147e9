"""DSPy's path of KNNFewShot."""

from dspex.teleprompt import __getattr__

__all__ = ["__getattr__"]
