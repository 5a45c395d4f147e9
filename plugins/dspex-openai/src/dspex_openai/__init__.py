"""Declares the provider `openai` and those of like services; nothing is imported before its first use."""

import dspex
from dspex_openai.options import AzureEmbedderOptions, AzureOptions, EmbedderOptions, OpenAIOptions
from dspex_openai.presets import PRESETS


@dspex.hookimpl
def dspex_lm_providers() -> list[dspex.Spec]:
    """LM("openai/MODEL"), with api_base= every server that speaks OpenAI's API, and LM("groq/MODEL") and others by name."""
    factory, summary = (
        "dspex_openai.making:make_lm",
        "OpenAI, and servers that speak its API (llama.cpp, vLLM and others)",
    )
    openai = dspex.Spec("openai", factory, summary, options=OpenAIOptions)
    azure = dspex.Spec("azure", "dspex_openai.making:make_azure_lm", "OpenAI's models at Azure", options=AzureOptions)
    others = [dspex.Spec(name, factory, preset.summary, options=OpenAIOptions) for name, preset in PRESETS.items()]
    return [openai, azure, *others]


@dspex.hookimpl
def dspex_embedders() -> list[dspex.Spec]:
    """Embedder("openai/MODEL"), and of those services that make embeddings."""
    factory, azure_factory = "dspex_openai.making:make_embedder", "dspex_openai.making:make_azure_embedder"
    openai = dspex.Spec("openai", factory, "embeddings of OpenAI, and of servers like it", options=EmbedderOptions)
    azure = dspex.Spec("azure", azure_factory, "OpenAI's embeddings at Azure", options=AzureEmbedderOptions)
    embedding = {name: preset for name, preset in PRESETS.items() if preset.embeds}
    others = [dspex.Spec(name, factory, preset.summary, options=EmbedderOptions) for name, preset in embedding.items()]
    return [openai, azure, *others]
