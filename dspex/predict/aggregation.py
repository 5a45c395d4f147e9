"""DSPy's path of majority."""

from dspex.program.majority import majority

__all__ = ["majority"]
