"""DSPy's path of Parallel."""

from dspex.program.parallel import Parallel

__all__ = ["Parallel"]
