"""DSPy's path of XMLAdapter."""

from dspex.program.adapters.xml import XMLAdapter

__all__ = ["XMLAdapter"]
