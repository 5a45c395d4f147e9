"""DSPy's path of JSONAdapter."""

from dspex.program.adapters.json import JSONAdapter

__all__ = ["JSONAdapter"]
