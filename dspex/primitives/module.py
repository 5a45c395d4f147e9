"""DSPy's path of Module."""

from dspex.program.module import Module

__all__ = ["Module"]
