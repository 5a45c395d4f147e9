"""Against aimock, a mock of Ollama's wire that others wrote."""

import dspex
from dspex.testing import WireMockContract


class TestOllamasMock(WireMockContract):
    tells_usage = False

    def lm(self, url: str) -> dspex.LM:
        return dspex.LM("ollama/acme-1", api_base=url, api_key="k", cache=False, num_retries=0)
