"""DSPy's path of the search by embeddings."""

from dspex.program.embeddings import Embeddings, EmbeddingsWithScores

__all__ = ["Embeddings", "EmbeddingsWithScores"]
