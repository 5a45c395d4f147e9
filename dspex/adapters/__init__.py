"""DSPy's path of adapters and types: `from dspex.adapters import Adapter`."""

from dspex.adapters.types import Audio, Code, File, History, Image, Reasoning, Tool, ToolCallResults, ToolCalls, Type
from dspex.program.adapters.adapter import Adapter
from dspex.program.adapters.chat import ChatAdapter
from dspex.program.adapters.json import JSONAdapter
from dspex.program.adapters.plain import PlainAdapter
from dspex.program.adapters.two_step import TwoStepAdapter
from dspex.program.adapters.xml import XMLAdapter

__all__ = [
    "Adapter",
    "Audio",
    "ChatAdapter",
    "Code",
    "File",
    "History",
    "Image",
    "JSONAdapter",
    "PlainAdapter",
    "Reasoning",
    "Tool",
    "ToolCallResults",
    "ToolCalls",
    "TwoStepAdapter",
    "Type",
    "XMLAdapter",
]
