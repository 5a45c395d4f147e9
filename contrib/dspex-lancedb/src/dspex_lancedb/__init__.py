"""Declares the retriever `lancedb`; nothing is loaded or opened before the first call."""

from dspex.plugin import Spec, hookimpl
from dspex_lancedb.options import LanceOptions

__all__ = ["dspex_retrievers"]


@hookimpl
def dspex_retrievers() -> list[Spec]:
    """Retriever("lancedb", embedder=..., path="folder")."""
    return [
        Spec(
            "lancedb",
            "dspex_lancedb.provider:LanceProvider",
            "Vectors in a folder or bucket, by LanceDB in the process",
            options=LanceOptions,
        )
    ]
