"""DSPy's path of the types that are more than data."""

from dspex.adapters.types.audio import Audio
from dspex.adapters.types.base_type import Type
from dspex.adapters.types.citation import Citations
from dspex.adapters.types.code import Code
from dspex.adapters.types.document import Document
from dspex.adapters.types.file import File
from dspex.adapters.types.history import History
from dspex.adapters.types.image import Image
from dspex.adapters.types.reasoning import Reasoning
from dspex.adapters.types.tool import Tool, ToolCallResults, ToolCalls

__all__ = [
    "Audio",
    "Citations",
    "Code",
    "Document",
    "File",
    "History",
    "Image",
    "Reasoning",
    "Tool",
    "ToolCallResults",
    "ToolCalls",
    "Type",
]
