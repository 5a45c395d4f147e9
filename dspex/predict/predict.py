"""DSPy's path of Predict."""

from dspex.program.predict import Predict

__all__ = ["Predict"]
