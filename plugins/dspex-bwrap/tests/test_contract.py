"""The sandbox does what the kernel relies on, and lets nothing out."""

from dspex.plugin import Sandbox
from dspex.testing import SandboxContract
from dspex_bwrap.sandbox import BwrapSandbox


class TestBwrap(SandboxContract):
    def make(self) -> Sandbox:
        return BwrapSandbox()
