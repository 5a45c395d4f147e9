"""A sandbox for dspex: Monty, a Python interpreter that has no files, network or processes to reach."""

from dspex.plugin import Spec, hookimpl

__all__ = ["dspex_sandboxes"]


@hookimpl
def dspex_sandboxes() -> list[Spec]:
    """The sandbox "monty"."""
    return [
        Spec("monty", "dspex_monty.sandbox:MontySandbox", "A subset of Python; a run takes less than a millisecond")
    ]
