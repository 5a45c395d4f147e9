"""DSPy's path of Embedder."""

from dspex.app.embedder import Embedder

__all__ = ["Embedder"]
