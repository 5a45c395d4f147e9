"""DSPy's path of Adapter."""

from dspex.program.adapters.adapter import Adapter

__all__ = ["Adapter"]
