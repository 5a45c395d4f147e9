"""DSPy's path of names that are still being tried there."""

from dspex.program.types.citations import Citations, Document

__all__ = ["Citations", "Document"]
