"""Against aimock, a mock of Google's wire that others wrote."""

import dspex
from dspex.testing import WireMockContract


class TestGooglesMock(WireMockContract):
    def lm(self, url: str) -> dspex.LM:
        return dspex.LM("gemini/gemini-2.5-flash", api_base=f"{url}/v1beta", api_key="k", cache=False, num_retries=0)
