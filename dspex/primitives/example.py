"""DSPy's path of Example."""

from dspex.core.example import Example

__all__ = ["Example"]
