"""Declares the provider `echo`; nothing is imported before its first use."""

import dspex


@dspex.hookimpl
def dspex_lm_providers() -> list[dspex.Spec]:
    """LM("echo/any")."""
    return [dspex.Spec("echo", "dspex_echo.provider:EchoProvider", "Answers with the last user message")]
