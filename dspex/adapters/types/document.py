"""DSPy's path of Document."""

from dspex.program.types.citations import Document

__all__ = ["Document"]
