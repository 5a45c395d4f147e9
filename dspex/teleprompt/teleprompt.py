"""DSPy's path of the base of optimizers."""

from dspex.engine.optimizer import Optimizer as Teleprompter

__all__ = ["Teleprompter"]
