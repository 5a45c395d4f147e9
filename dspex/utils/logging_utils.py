"""DSPy's path of the switch of the logger."""

from dspex.app.logging import disable_logging, enable_logging

__all__ = ["disable_logging", "enable_logging"]
