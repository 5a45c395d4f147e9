"""Declares the providers and the embedders `gemini` and `vertex_ai`; nothing is imported before its first use."""

import dspex
from dspex_gemini.options import GeminiEmbedderOptions, GeminiOptions, VertexEmbedderOptions, VertexOptions


@dspex.hookimpl
def dspex_lm_providers() -> list[dspex.Spec]:
    """LM("gemini/MODEL"), and the same models at Google Cloud as LM("vertex_ai/MODEL")."""
    vertex = "Google's models at Vertex AI"
    return [
        dspex.Spec("gemini", "dspex_gemini.provider:GeminiProvider", "Google's Gemini API", options=GeminiOptions),
        dspex.Spec("vertex_ai", "dspex_gemini.vertex:make_lm", vertex, options=VertexOptions),
    ]


@dspex.hookimpl
def dspex_embedders() -> list[dspex.Spec]:
    """Embedder("gemini/MODEL"), and Embedder("vertex_ai/MODEL")."""
    summary, vertex = "embeddings of Google's Gemini API", "Google's embeddings at Vertex AI"
    return [
        dspex.Spec("gemini", "dspex_gemini.embedder:GeminiEmbedder", summary, options=GeminiEmbedderOptions),
        dspex.Spec("vertex_ai", "dspex_gemini.vertex:make_embedder", vertex, options=VertexEmbedderOptions),
    ]
