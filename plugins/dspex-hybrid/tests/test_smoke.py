"""The package as its users meet it, on every supported Python."""

import dspex
from dspex_hybrid import fused, reranked


class Index:
    def __init__(self, *texts):
        self.texts = texts

    async def retrieve(self, query, k):
        return [dspex.Passage(text) for text in self.texts[:k]]


async def test_retrievers_are_fused_and_reranked():
    async with dspex.App():
        one = dspex.Retriever("one", provider=Index("a", "bb", "ccc"))
        other = dspex.Retriever("other", provider=Index("ccc", "dddd"))
        both = fused(one, other, k=2)
        assert [passage.text for passage in await both.acall("?")] == ["ccc", "a"]
        best = reranked(both, lambda query, passages: [len(passage.text) for passage in passages], k=1)
        assert (await best.acall("?"))[0].text == "dddd"
