"""DSPy's place for adapters: `from dspex.adapters import Adapter`."""

from dspex.program.adapters.adapter import Adapter
from dspex.program.adapters.chat import ChatAdapter
from dspex.program.adapters.json import JSONAdapter
from dspex.program.adapters.plain import PlainAdapter
from dspex.program.adapters.two_step import TwoStepAdapter
from dspex.program.adapters.xml import XMLAdapter

__all__ = ["Adapter", "ChatAdapter", "JSONAdapter", "PlainAdapter", "TwoStepAdapter", "XMLAdapter"]
