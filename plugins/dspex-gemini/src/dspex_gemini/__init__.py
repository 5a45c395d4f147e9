"""Declares the provider and the embedder `gemini`; nothing is imported before its first use."""

import dspex
from dspex_gemini.options import GeminiEmbedderOptions, GeminiOptions


@dspex.hookimpl
def dspex_lm_providers() -> list[dspex.Spec]:
    """LM("gemini/MODEL")."""
    return [dspex.Spec("gemini", "dspex_gemini.provider:GeminiProvider", "Google's Gemini API", options=GeminiOptions)]


@dspex.hookimpl
def dspex_embedders() -> list[dspex.Spec]:
    """Embedder("gemini/MODEL")."""
    summary = "embeddings of Google's Gemini API"
    return [dspex.Spec("gemini", "dspex_gemini.embedder:GeminiEmbedder", summary, options=GeminiEmbedderOptions)]
