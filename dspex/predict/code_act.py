"""DSPy's path of CodeAct."""

from dspex.program.code_act import CodeAct

__all__ = ["CodeAct"]
