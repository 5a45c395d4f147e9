"""Declares the retriever `qdrant`; nothing is asked or opened before the first call."""

from dspex.plugin import Spec, hookimpl
from dspex_qdrant.options import QdrantOptions

__all__ = ["dspex_retrievers"]


@hookimpl
def dspex_retrievers() -> list[Spec]:
    """Retriever("qdrant", embedder=..., collection="docs")."""
    return [
        Spec(
            "qdrant",
            "dspex_qdrant.provider:QdrantProvider",
            "Vectors in a Qdrant server, or in a folder in the process",
            options=QdrantOptions,
        )
    ]
