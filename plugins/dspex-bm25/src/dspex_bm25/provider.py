"""The provider: an index by words in this process, by the contract of a SearchingRetriever."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dspex.plugin import Condition, EmbeddingProvider, HttpClient, Passage
from dspex_bm25.folder import open_index, save
from dspex_bm25.index import Index
from dspex_bm25.options import read_options


class BM25Provider:
    """Passages by their words; neither `http` nor an embedder is used. Raises ConfigurationError for a wrong option.

    What it opens is opened by `start` or the first call. All work is done in threads.
    """

    def __init__(
        self, options: Mapping[str, Any], http: HttpClient | None = None, embedder: EmbeddingProvider | None = None
    ) -> None:
        self._options = read_options(options)
        self._index: Index | None = None
        self._lock = threading.Lock()

    async def start(self) -> None:
        """Open the folder. Raises RetrieverError for one that cannot be used."""
        await asyncio.to_thread(self._opened)

    async def retrieve(self, query: str, k: int) -> list[Passage]:
        """The k best passages, best first."""
        return (await self.search([query], k, ()))[0]

    async def search(self, queries: list[str], k: int, where: tuple[Condition, ...]) -> list[list[Passage]]:
        """For each query the k best of the passages for which all conditions hold."""
        return await asyncio.to_thread(lambda: self._opened().search(queries, k, where))

    async def add(self, passages: Sequence[Passage]) -> None:
        """Put passages in; the next search makes the index of them."""
        await asyncio.to_thread(lambda: self._opened().add(passages))

    async def delete(self, ids: Sequence[str]) -> None:
        """Take passages out."""
        await asyncio.to_thread(lambda: self._opened().delete(ids))

    async def save(self, path: str) -> None:
        """Write the index to a folder, for `path=`."""
        await asyncio.to_thread(lambda: save(self._opened(), Path(path), self._options))

    def _opened(self) -> Index:
        with self._lock:
            index, path = self._index, self._options.path
            if index is None:
                index = Index(self._options) if path is None else open_index(Path(path), self._options)
                self._index = index
            return index
