"""Declares the provider and the embedder `llamacpp`; neither the engine nor the weights are touched before the first call."""

import dspex
from dspex_llamacpp.options import EmbeddingOptions, LlamaCppOptions


@dspex.hookimpl
def dspex_lm_providers() -> list[dspex.Spec]:
    """LM("llamacpp/gemma-3-270m"), LM("llamacpp//path/to/model.gguf")."""
    return [
        dspex.Spec(
            "llamacpp",
            "dspex_llamacpp.provider:LlamaCppProvider",
            "Models in the process, by llama.cpp: gemma-3-270m, or any GGUF file",
            options=LlamaCppOptions,
        )
    ]


@dspex.hookimpl
def dspex_embedders() -> list[dspex.Spec]:
    """Embedder("llamacpp//path/to/model.gguf"), Embedder("llamacpp/gemma-3-270m")."""
    return [
        dspex.Spec(
            "llamacpp",
            "dspex_llamacpp.embedder:LlamaCppEmbedder",
            "Embeddings in the process, by llama.cpp: any GGUF file that makes them",
            options=EmbeddingOptions,
        )
    ]
