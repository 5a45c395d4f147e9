"""DSPy's path of Prediction."""

from dspex.core.example import Completions, Prediction

__all__ = ["Completions", "Prediction"]
