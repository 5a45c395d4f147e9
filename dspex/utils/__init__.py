"""DSPy's path of doubles, callbacks and errors."""

from dspex.streaming.messages import StatusMessage, StatusMessageProvider
from dspex.utils import exceptions
from dspex.utils.callback import BaseCallback
from dspex.utils.dummies import DummyLM, DummyVectorizer
from dspex.utils.syncify import syncify

__all__ = [
    "BaseCallback",
    "DummyLM",
    "DummyVectorizer",
    "StatusMessage",
    "StatusMessageProvider",
    "exceptions",
    "syncify",
]
