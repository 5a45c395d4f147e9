"""Against aimock, a mock of Anthropic's wire that others wrote."""

import dspex
from dspex.testing import WireMockContract


class TestAnthropicsMock(WireMockContract):
    # Results of tools stand in the user's turn, and the mock takes them out behind what else is said there.
    roles = ("system", "user", "assistant", "user", "tool")

    def lm(self, url: str) -> dspex.LM:
        return dspex.LM("anthropic/claude-sonnet-4-5", api_base=url, api_key="k", cache=False, num_retries=0)
