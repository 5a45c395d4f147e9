"""DSPy's path of Code."""

from dspex.program.types.code import Code

__all__ = ["Code"]
