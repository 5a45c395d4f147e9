"""DSPy's path of Citations."""

from dspex.program.types.citations import Citations

__all__ = ["Citations"]
