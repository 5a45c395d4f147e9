"""DSPy's path of ReAct."""

from dspex.program.react import ReAct
from dspex.program.types.tool import Tool

__all__ = ["ReAct", "Tool"]
