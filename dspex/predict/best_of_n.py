"""DSPy's path of BestOfN."""

from dspex.program.best_of_n import BestOfN

__all__ = ["BestOfN"]
