"""DSPy's path of TwoStepAdapter."""

from dspex.program.adapters.two_step import TwoStepAdapter

__all__ = ["TwoStepAdapter"]
