"""DSPy's path of doubles, callbacks and errors."""

from dspex.streaming.messages import StatusMessage, StatusMessageProvider
from dspex.utils import exceptions, magicattr
from dspex.utils.callback import BaseCallback, with_callbacks
from dspex.utils.dummies import DummyLM, DummyVectorizer, dummy_rm
from dspex.utils.syncify import syncify

__all__ = [
    "BaseCallback",
    "DummyLM",
    "DummyVectorizer",
    "StatusMessage",
    "StatusMessageProvider",
    "dummy_rm",
    "exceptions",
    "magicattr",
    "syncify",
    "with_callbacks",
]
