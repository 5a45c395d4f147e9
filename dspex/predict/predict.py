"""DSPy's path of Predict."""

from dspex.core.identity import plain as serialize_object
from dspex.program.predict import Predict

__all__ = ["Predict", "serialize_object"]
