"""DSPy's path of what programs are made of."""

from dspex.primitives.base_module import BaseModule
from dspex.primitives.example import Example
from dspex.primitives.module import Module
from dspex.primitives.prediction import Completions, Prediction

__all__ = ["BaseModule", "Completions", "Example", "Module", "Prediction"]
