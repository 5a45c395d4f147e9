"""Retrievers made of retrievers: the passages of several as one list, and a list in a better order."""

from dspex_hybrid.fusion import Fused, fused
from dspex_hybrid.reranking import Rerank, Reranked, reranked

__all__ = ["Fused", "Rerank", "Reranked", "fused", "reranked"]
