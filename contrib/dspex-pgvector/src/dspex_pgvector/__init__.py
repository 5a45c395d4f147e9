"""Declares the retriever `pgvector`; nothing is connected before the first call."""

from dspex.plugin import Spec, hookimpl
from dspex_pgvector.options import PgvectorOptions

__all__ = ["dspex_retrievers"]


@hookimpl
def dspex_retrievers() -> list[Spec]:
    """Retriever("pgvector", embedder=..., dsn="postgresql://...")."""
    return [
        Spec(
            "pgvector",
            "dspex_pgvector.provider:PgvectorProvider",
            "Vectors in PostgreSQL with pgvector",
            options=PgvectorOptions,
        )
    ]
