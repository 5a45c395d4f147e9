"""DSPy's path of ProgramOfThought."""

from dspex.program.program_of_thought import ProgramOfThought

__all__ = ["ProgramOfThought"]
