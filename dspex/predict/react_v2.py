"""DSPy's path of ReActV2."""

from dspex.program.react import ReActV2

__all__ = ["ReActV2"]
