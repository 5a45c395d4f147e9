"""DSPy's path of the base of one's own LMs."""

from dspex.app.base_lm import BaseLM
from dspex.app.history import inspect_history

__all__ = ["BaseLM", "inspect_history"]
