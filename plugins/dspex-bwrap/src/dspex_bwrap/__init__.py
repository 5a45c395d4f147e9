"""A sandbox for dspex: CPython in bubblewrap, with a system that is read-only and no network."""

from dspex.plugin import Spec, hookimpl

__all__ = ["dspex_sandboxes"]


@hookimpl
def dspex_sandboxes() -> list[Spec]:
    """The sandbox "bwrap"."""
    return [Spec("bwrap", "dspex_bwrap.sandbox:BwrapSandbox", "All of CPython in bubblewrap, on Linux; needs bwrap")]
