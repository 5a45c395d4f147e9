"""Declares the provider `bedrock`; nothing is imported before its first use."""

import dspex
from dspex_bedrock.options import BedrockOptions


@dspex.hookimpl
def dspex_lm_providers() -> list[dspex.Spec]:
    """LM("bedrock/MODEL")."""
    summary = "models at Amazon Bedrock, by its Converse API"
    return [dspex.Spec("bedrock", "dspex_bedrock.provider:BedrockProvider", summary, options=BedrockOptions)]
