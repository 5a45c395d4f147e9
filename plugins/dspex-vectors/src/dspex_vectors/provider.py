"""The provider: an index in this process by the contract of a SearchingRetriever."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dspex.plugin import Condition, ConfigurationError, EmbeddingProvider, HttpClient, Passage, Vectors
from dspex_vectors.folder import open_index, save
from dspex_vectors.index import Index
from dspex_vectors.options import read_options
from dspex_vectors.rows import Floats

# Passages that are embedded and put in at a time: of very many, the vectors stand in memory only once.
AT_A_TIME = 4096
# Multiplications that take less time than a thread's turn.
INLINE = 1 << 20


class VectorsProvider:
    """Passages by their vectors, exact; `http` is not used. Raises ConfigurationError for a wrong option or no embedder.

    What it opens is opened by `start` or the first call. Work of some size is done in threads.
    """

    def __init__(
        self, options: Mapping[str, Any], http: HttpClient | None = None, embedder: EmbeddingProvider | None = None
    ) -> None:
        if embedder is None:
            raise ConfigurationError(
                "A retriever by vectors makes them by an embedder: Retriever('vectors', embedder=dspex.Embedder('...'))."
            )
        self._options = read_options(options)
        self._embedder = embedder
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
        index = await self._ready()
        if not len(index) or not queries:
            return [[] for _ in queries]
        rows = to_rows(await self._embedder.embed(queries))
        if not where and len(index) * rows.size <= INLINE:
            return index.search(rows, k, where)
        return await asyncio.to_thread(index.search, rows, k, where)

    async def add(self, passages: Sequence[Passage]) -> None:
        """Put passages in, some thousands at a time."""
        index = await self._ready()
        for first in range(0, len(passages), AT_A_TIME):
            some = passages[first : first + AT_A_TIME]
            rows = to_rows(await self._embedder.embed([passage.text for passage in some]))
            await asyncio.to_thread(index.add, some, rows)

    async def delete(self, ids: Sequence[str]) -> None:
        """Take passages out."""
        index = await self._ready()
        await asyncio.to_thread(index.delete, ids)

    async def passages(self) -> list[Passage]:
        """All that there are, in the order in which they came."""
        index = await self._ready()
        return await asyncio.to_thread(index.passages)

    async def save(self, path: str) -> None:
        """Write the index to a folder, for `path=`."""
        index = await self._ready()
        await asyncio.to_thread(save, index, Path(path), self._maker(), normalize=self._options.normalize)

    async def _ready(self) -> Index:
        index = self._index
        return await asyncio.to_thread(self._opened) if index is None else index

    def _opened(self) -> Index:
        with self._lock:
            index, path = self._index, self._options.path
            if index is None:
                index = Index(self._options) if path is None else open_index(Path(path), self._options, self._maker())
                self._index = index
            return index

    def _maker(self) -> Mapping[str, Any] | None:
        return getattr(self._embedder, "identity", None)


def to_rows(vectors: Vectors) -> Floats:
    """An embedder's vectors as an array."""
    return np.frombuffer(vectors.data, np.float32).reshape(len(vectors), vectors.dim)
