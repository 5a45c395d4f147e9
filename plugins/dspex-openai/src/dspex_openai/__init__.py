"""Declares the provider `openai`; nothing is imported before its first use."""

import dspex
from dspex_openai.options import OpenAIOptions


@dspex.hookimpl
def dspex_lm_providers() -> list[dspex.Spec]:
    """LM("openai/MODEL"), and with api_base= every server that speaks chat completions."""
    summary = "OpenAI, and servers that speak its chat completions (llama.cpp, vLLM and others)"
    return [dspex.Spec("openai", "dspex_openai.provider:OpenAIProvider", summary, options=OpenAIOptions)]
