"""Declares the provider and the embedder `litellm`; LiteLLM itself is imported when one of them starts."""

import dspex
from dspex_litellm.options import LiteLLMEmbedderOptions, LiteLLMOptions


@dspex.hookimpl
def dspex_lm_providers() -> list[dspex.Spec]:
    """LM("litellm/PROVIDER/MODEL")."""
    summary = "every model that LiteLLM reaches"
    return [dspex.Spec("litellm", "dspex_litellm.provider:LiteLLMProvider", summary, options=LiteLLMOptions)]


@dspex.hookimpl
def dspex_embedders() -> list[dspex.Spec]:
    """Embedder("litellm/PROVIDER/MODEL")."""
    summary = "every embedding model that LiteLLM reaches"
    return [dspex.Spec("litellm", "dspex_litellm.embedder:LiteLLMEmbedder", summary, options=LiteLLMEmbedderOptions)]
