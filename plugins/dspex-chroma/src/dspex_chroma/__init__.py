"""Declares the retriever `chroma`; nothing is asked before the first call."""

from dspex.plugin import Spec, hookimpl
from dspex_chroma.options import ChromaOptions

__all__ = ["dspex_retrievers"]


@hookimpl
def dspex_retrievers() -> list[Spec]:
    """Retriever("chroma", embedder=..., collection="docs")."""
    return [Spec("chroma", "dspex_chroma.provider:ChromaProvider", "Vectors in a Chroma server", options=ChromaOptions)]
