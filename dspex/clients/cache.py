"""DSPy's path of the cache."""

from dspex.service.cache import Cache

__all__ = ["Cache"]
