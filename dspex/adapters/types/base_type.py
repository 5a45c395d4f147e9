"""DSPy's path of Type."""

from dspex.program.types.base import Type

__all__ = ["Type"]
