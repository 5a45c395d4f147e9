"""Declares the provider `anthropic`; nothing is imported before its first use."""

import dspex
from dspex_anthropic.options import AnthropicOptions


@dspex.hookimpl
def dspex_lm_providers() -> list[dspex.Spec]:
    """LM("anthropic/MODEL"), and with api_base= every server that speaks the messages API."""
    summary = "Anthropic, and servers that speak its messages API"
    return [dspex.Spec("anthropic", "dspex_anthropic.provider:AnthropicProvider", summary, options=AnthropicOptions)]
