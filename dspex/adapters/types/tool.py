"""DSPy's path of tools and their calls."""

from dspex.program.types.tool import Tool
from dspex.program.types.tool_calls import ToolCallResults, ToolCalls

__all__ = ["Tool", "ToolCallResults", "ToolCalls"]
