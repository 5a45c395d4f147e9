"""Declares the command `dspex demo`; nothing is imported before it is asked for."""

from typing import Any

import dspex


@dspex.hookimpl
def dspex_commands() -> list[Any]:
    """`dspex demo`: optimise a real program on the embedded model."""
    from dspex_demo.command import demo

    return [demo]
