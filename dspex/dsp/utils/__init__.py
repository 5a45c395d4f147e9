"""DSPy's path of its settings."""

from dspex.dsp.utils.settings import settings

__all__ = ["settings"]
