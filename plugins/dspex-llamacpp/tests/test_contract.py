"""The kit for providers, as far as it holds for a model inside the process."""

from types import MappingProxyType

import pytest

import dspex_llamacpp
from dspex.plugin import Spec
from dspex.testing import LMInProcessContract

# Tests that are about how a model is loaded, and how it is let go.
LOADED_ANEW = ("cancelled", "threads", "forked", "let_go", "lets_it_go")


class TestLlamaCpp(LMInProcessContract):
    question = "Hello"
    model = "gemma-3-270m"
    options = MappingProxyType({"context": 256, "deterministic": True, "temperature": 0.0, "max_tokens": 1})
    cannot = ("audio", "files", "images", "reasoning", "tools")
    offered = dspex_llamacpp.dspex_lm_providers()[0]

    @pytest.fixture(autouse=True)
    def is_kept(self, request, kept):
        if not any(word in request.function.__name__ for word in LOADED_ANEW):
            self.offered = kept(self.offered)

    def spec(self) -> Spec:
        return self.offered
