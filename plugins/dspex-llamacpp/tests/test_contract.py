"""The kit for providers, as far as it holds for a model inside the process."""

from types import MappingProxyType

import dspex_llamacpp
from dspex.plugin import Spec
from dspex.testing import LMInProcessContract


class TestLlamaCpp(LMInProcessContract):
    question = "Hello"
    model = "gemma-3-270m"
    options = MappingProxyType({"context": 256, "deterministic": True, "temperature": 0.0, "max_tokens": 1})
    cannot = ("audio", "files", "images", "reasoning", "tools")

    def spec(self) -> Spec:
        return dspex_llamacpp.dspex_lm_providers()[0]
