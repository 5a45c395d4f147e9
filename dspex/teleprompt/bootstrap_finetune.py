"""DSPy's path of BootstrapFinetune."""

from dspex.teleprompt import __getattr__

__all__ = ["__getattr__"]
