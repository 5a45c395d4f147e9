"""Against aimock, a mock of Bedrock's wire that others wrote."""

import dspex
from dspex.testing import WireMockContract


class TestBedrocksMock(WireMockContract):
    def lm(self, url: str) -> dspex.LM:
        return dspex.LM("bedrock/acme-1", api_base=url, api_key="k", cache=False, num_retries=0)
