"""Declares the provider and the embedder `bedrock`; nothing is imported before its first use."""

import dspex
from dspex_bedrock.options import BedrockEmbedderOptions, BedrockOptions


@dspex.hookimpl
def dspex_lm_providers() -> list[dspex.Spec]:
    """LM("bedrock/MODEL")."""
    summary = "models at Amazon Bedrock, by its Converse API"
    return [dspex.Spec("bedrock", "dspex_bedrock.provider:BedrockProvider", summary, options=BedrockOptions)]


@dspex.hookimpl
def dspex_embedders() -> list[dspex.Spec]:
    """Embedder("bedrock/MODEL")."""
    summary = "Titan's and Cohere's embeddings at Amazon Bedrock"
    return [dspex.Spec("bedrock", "dspex_bedrock.embedder:BedrockEmbedder", summary, options=BedrockEmbedderOptions)]
