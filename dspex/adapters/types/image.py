"""DSPy's path of Image."""

from dspex.program.types.media import Image

__all__ = ["Image"]
