"""DSPy's path of the base of Module, which is Module here."""

from dspex.program.module import BaseModule

__all__ = ["BaseModule"]
