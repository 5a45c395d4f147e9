"""DSPy's path of the fields."""

from dspex.program.fields import InputField, OutputField

__all__ = ["InputField", "OutputField"]
