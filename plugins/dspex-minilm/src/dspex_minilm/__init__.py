"""Declares the embedder `minilm`; neither the model nor its runtime is loaded before the first call."""

from dspex.plugin import Spec, hookimpl
from dspex_minilm.options import MiniLMOptions

__all__ = ["dspex_embedders"]


@hookimpl
def dspex_embedders() -> list[Spec]:
    """Embedder("minilm/all-MiniLM-L6-v2")."""
    return [
        Spec(
            "minilm",
            "dspex_minilm.provider:MiniLMProvider",
            "all-MiniLM-L6-v2 in the process: 384 values a text, English",
            options=MiniLMOptions,
        )
    ]
