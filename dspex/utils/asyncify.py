"""DSPy's path of asyncify."""

from dspex.program.sync import asyncify

__all__ = ["asyncify"]
