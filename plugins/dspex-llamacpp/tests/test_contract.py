"""The kit for providers, as far as it holds for a model inside the process."""

from types import MappingProxyType

import pytest

import dspex_llamacpp
from dspex.plugin import Spec
from dspex.testing import LMInProcessContract


@pytest.mark.usefixtures("is_kept")
class TestLlamaCpp(LMInProcessContract):
    question = "Hello"
    model = "gemma-3-270m"
    options = MappingProxyType({"context": 256, "deterministic": True, "temperature": 0.0, "max_tokens": 1})
    cannot = ("audio", "files", "images", "reasoning", "tools")
    offered = dspex_llamacpp.dspex_lm_providers()[0]

    def spec(self) -> Spec:
        return self.offered
