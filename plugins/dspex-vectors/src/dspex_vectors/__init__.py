"""Declares the retriever `vectors`; numpy is not loaded before the first call."""

from dspex.plugin import Spec, hookimpl
from dspex_vectors.options import VectorsOptions

__all__ = ["dspex_retrievers"]


@hookimpl
def dspex_retrievers() -> list[Spec]:
    """Retriever("vectors", embedder=...)."""
    return [
        Spec(
            "vectors",
            "dspex_vectors.provider:VectorsProvider",
            "Vectors in the process: exact by numpy, a graph by usearch for many",
            options=VectorsOptions,
        )
    ]
