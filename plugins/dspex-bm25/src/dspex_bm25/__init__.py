"""Declares the retriever `bm25`; nothing heavy is loaded before the first call."""

from dspex.plugin import Spec, hookimpl
from dspex_bm25.options import BM25Options

__all__ = ["dspex_retrievers"]


@hookimpl
def dspex_retrievers() -> list[Spec]:
    """Retriever("bm25")."""
    return [
        Spec("bm25", "dspex_bm25.provider:BM25Provider", "Passages by their words, in the process", options=BM25Options)
    ]
