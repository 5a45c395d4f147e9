"""Against aimock, a mock of OpenAI's wire that others wrote: chat, responses, embeddings, and Azure's addresses."""

from types import MappingProxyType

import pytest

import dspex
from dspex.testing import WireMockContract

MORE = MappingProxyType({"api_key": "k", "cache": False, "num_retries": 0})


class TestChat(WireMockContract):
    def lm(self, url: str) -> dspex.LM:
        return dspex.LM("openai/gpt-4o", api_base=f"{url}/v1", **MORE)


class TestResponses(WireMockContract):
    def lm(self, url: str) -> dspex.LM:
        return dspex.LM("openai/gpt-4o", "responses", api_base=f"{url}/v1", **MORE)


class TestAzure(WireMockContract):
    def lm(self, url: str) -> dspex.LM:
        return dspex.LM("azure/gpt-4o", api_base=f"{url}/openai/v1", **MORE)


class TestAzureDated(WireMockContract):
    def lm(self, url: str) -> dspex.LM:
        return dspex.LM("azure/gpt-4o", api_base=url, api_version="2024-10-21", **MORE)


class TestAzureResponses(WireMockContract):
    def lm(self, url: str) -> dspex.LM:
        return dspex.LM("azure/gpt-4o", api_base=f"{url}/openai/v1", model_type="responses", **MORE)


@pytest.mark.parametrize("model", ["openai/text-embedding-3-small", "azure/e"])
async def test_embeddings_are_rows(mock, model):
    dated = {"api_version": "2024-10-21"} if model.startswith("azure") else {}
    base = mock.url if dated else f"{mock.url}/v1"
    embedder = dspex.Embedder(model, api_base=base, api_key="k", caching=False, dimensions=4, **dated)
    got = await embedder.embed(["a", "b", "a"])
    assert (len(got), got.dim) == (3, 4)
    assert list(got[0]) == list(got[2]) != list(got[1])
