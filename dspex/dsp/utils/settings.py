"""DSPy's path of the settings."""

from dspex.app.current import settings

__all__ = ["settings"]
