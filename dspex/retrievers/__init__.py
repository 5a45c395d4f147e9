"""DSPy's path of what searches."""

from dspex.retrievers.embeddings import Embeddings, EmbeddingsWithScores
from dspex.retrievers.retrieve import Retrieve

__all__ = ["Embeddings", "EmbeddingsWithScores", "Retrieve"]
