"""A query gives passages, a list of queries a list for each."""

from typing import reveal_type

import dspex

retriever = dspex.Retriever("vectors", embedder="minilm/all-MiniLM-L6-v2")
reveal_type(retriever("?"))  # expect: list[Passage]
reveal_type(retriever("?", 3, where={"year": {"gte": 2000}}))  # expect: list[Passage]
reveal_type(retriever(["?", "!"]))  # expect: list[list[Passage]]
reveal_type(retriever.add(["text", dspex.Passage("text")]))  # expect: list[str]
retriever(3)  # error
retriever("?", where="year")  # error


async def asked() -> None:
    reveal_type(await retriever.acall("?"))  # expect: list[Passage]
    reveal_type(await retriever.acall(["?"], 1))  # expect: list[list[Passage]]
