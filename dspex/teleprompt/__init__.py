"""DSPy's place for optimizers: `from dspex.teleprompt import BootstrapFewShot`; they are those of the installed plugins."""

from typing import Any

from dspex.engine.optimizer import Optimizer, optimizer_class
from dspex.engine.trace_data import bootstrap_trace_data

Teleprompter = Optimizer  # DSPy's name of the base

__all__ = ["Optimizer", "Teleprompter", "bootstrap_trace_data"]


def __getattr__(name: str) -> Any:
    if name[:1].isupper():
        return optimizer_class(name)
    raise AttributeError(f"module 'dspex.teleprompt' has no attribute {name!r}")
