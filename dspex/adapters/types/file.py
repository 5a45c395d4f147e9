"""DSPy's path of File."""

from dspex.program.types.media import File

__all__ = ["File"]
