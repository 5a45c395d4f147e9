"""Declares the provider and the embedder `ollama`; nothing is imported before its first use."""

from typing import Any

import dspex
from dspex_ollama.options import OllamaEmbedderOptions, OllamaOptions


@dspex.hookimpl
def dspex_lm_providers() -> list[dspex.Spec]:
    """LM("ollama/MODEL"), also by the name that LiteLLM has for this API."""
    factory, summary = "dspex_ollama.provider:OllamaProvider", "models that Ollama serves, by its own API"
    return [dspex.Spec(name, factory, summary, options=OllamaOptions) for name in ("ollama", "ollama_chat")]


@dspex.hookimpl
def dspex_embedders() -> list[dspex.Spec]:
    """Embedder("ollama/MODEL")."""
    summary = "embeddings of models that Ollama serves"
    return [dspex.Spec("ollama", "dspex_ollama.embedder:OllamaEmbedder", summary, options=OllamaEmbedderOptions)]


@dspex.hookimpl
def dspex_commands() -> list[Any]:
    """`dspex ollama`."""
    from dspex_ollama.commands import ollama

    return [ollama]
