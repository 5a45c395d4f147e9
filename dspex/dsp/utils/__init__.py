"""DSPy's path of its settings, and of two small helps for programs that retrieve."""

from dspex.dsp.utils.settings import settings
from dspex.dsp.utils.utils import deduplicate, dotdict

__all__ = ["deduplicate", "dotdict", "settings"]
