"""DSPy's path of what proposes instructions to GEPA; it is the plugin's that offers GEPA."""

from importlib import import_module
from typing import Any

from dspex.engine.optimizer import optimizer_class
from dspex.teleprompt.gepa.gepa_utils import ReflectiveExample

__all__ = ["ReflectiveExample"]


def __getattr__(name: str) -> Any:
    if not name[:1].isupper():
        raise AttributeError(f"module 'dspex.teleprompt.gepa.instruction_proposal' has no attribute {name!r}")
    package = optimizer_class("GEPA").__module__.partition(".")[0]
    return getattr(import_module(f"{package}.instruction_proposal"), name)
