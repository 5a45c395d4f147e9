"""DSPy's path of Audio."""

from dspex.program.types.media import Audio

__all__ = ["Audio"]
