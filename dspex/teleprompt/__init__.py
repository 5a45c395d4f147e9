"""DSPy's place for optimizers: `from dspex.teleprompt import BootstrapFewShot`; they are those of the installed plugins."""

import sys
from typing import Any

from dspex.app.app import current_app
from dspex.core.errors import MissingPlugin
from dspex.core.importing import is_import
from dspex.engine.optimizer import Optimizer, optimizer_class
from dspex.engine.trace_data import bootstrap_trace_data as bootstrap_trace_data

Teleprompter = Optimizer  # DSPy's name of the base


def __getattr__(name: str) -> Any:
    if name == "__all__":  # what `import *` asks for
        return ["Optimizer", "Teleprompter", "bootstrap_trace_data", *current_app().plugins.names("optimizers")]
    if name[:1].isupper():
        try:
            if name == "DspyGEPAResult":
                return sys.modules[optimizer_class("GEPA").__module__].GEPAResult
            return optimizer_class(name)
        except MissingPlugin as error:
            asking = sys._getframe(1)
            if is_import(asking):
                raise ImportError(f"cannot import name {name!r}: {error}", name="dspex.teleprompt") from error
            raise
    raise AttributeError(f"module 'dspex.teleprompt' has no attribute {name!r}")
