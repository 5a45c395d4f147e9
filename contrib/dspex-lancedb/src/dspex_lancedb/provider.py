"""The provider: a table of LanceDB by the contract of a SearchingRetriever."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import lancedb

from dspex.plugin import Condition, ConfigurationError, EmbeddingProvider, HttpClient, Passage, RetrieverError, by_parts
from dspex_lancedb.options import read_options
from dspex_lancedb.rows import SHOWN, quoted, schema_of, to_passage, to_sql, to_table

T = TypeVar("T")

AT_A_TIME = 1024
ABSENT = "was not found"  # LanceDB has no class for it


class LanceProvider:
    """Passages of one table; `http` is not used. Raises ConfigurationError for a wrong option or no embedder."""

    def __init__(
        self, options: Mapping[str, Any], http: HttpClient | None = None, embedder: EmbeddingProvider | None = None
    ) -> None:
        if embedder is None:
            raise ConfigurationError(
                "A retriever by vectors makes them by an embedder: Retriever('lancedb', embedder=dspex.Embedder('...'))."
            )
        self._options = read_options(options)
        self._embedder = embedder
        self._table: Any = None

    async def retrieve(self, query: str, k: int) -> list[Passage]:
        """The k best passages, best first."""
        return (await self.search([query], k, ()))[0]

    async def search(self, queries: list[str], k: int, where: tuple[Condition, ...]) -> list[list[Passage]]:
        """For each query the k best of the passages for which all conditions hold."""
        return await self._as_it_is(partial(self._search, queries, k, where))

    async def _search(self, queries: list[str], k: int, where: tuple[Condition, ...]) -> list[list[Passage]]:
        table = await self._opened()
        if table is None:
            return [[] for _ in queries]
        vectors = await self._embedder.embed(queries)
        await self._check_size(table, vectors.dim)
        narrowed = to_sql(where)
        return await by_parts(list(vectors), 1, lambda rows: self._nearest(table, list(rows[0]), k, narrowed))

    async def _nearest(self, table: Any, vector: list[float], k: int, where: str | None) -> list[Passage]:
        query = table.query().nearest_to(vector).distance_type(self._options.distance).limit(k).select(SHOWN)
        async with self._told("search"):
            found = await (query if where is None else query.where(where)).to_list()
        return [to_passage(row, self._options.distance) for row in found]

    async def add(self, passages: Sequence[Passage]) -> None:
        """Put passages in, some hundreds at a time; each time makes a version of the table."""
        different = list({passage.id: passage for passage in passages}.values())
        for first in range(0, len(different), AT_A_TIME):
            some = different[first : first + AT_A_TIME]
            vectors = await self._embedder.embed([passage.text for passage in some])
            rows = await asyncio.to_thread(to_table, some, vectors)
            await self._as_it_is(partial(self._add, vectors.dim, rows))

    async def _add(self, dim: int, rows: Any) -> None:
        table = await self._opened() or await self._created(dim)
        await self._check_size(table, dim)
        async with self._told("add"):
            await table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)

    async def delete(self, ids: Sequence[str]) -> None:
        """Take passages out."""
        if ids:
            await self._as_it_is(partial(self._delete, ids))

    async def _delete(self, ids: Sequence[str]) -> None:
        table = await self._opened()
        if table is not None:
            async with self._told("delete"):
                await table.delete(f"id IN ({', '.join(map(quoted, ids))})")

    async def aclose(self) -> None:
        """Let the table go."""
        table, self._table = self._table, None
        if table is not None:
            table.close()

    async def _as_it_is(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work()` gives; once more where somebody may have dropped the table, or made it anew, since it was opened."""
        table = self._table
        try:
            return await work()
        except RetrieverError:
            if table is None:
                raise
            self._table = None
            return await work()

    async def _opened(self) -> Any:
        if self._table is None:
            async with self._told("open"):
                database = await self._database()
                try:
                    self._table = await database.open_table(self._options.collection)
                except ValueError as error:
                    if ABSENT not in str(error):
                        raise
        return self._table

    async def _created(self, dim: int) -> Any:
        async with self._told("open"):
            database = await self._database()
            # One that another has made meanwhile is as good.
            table = await database.create_table(self._options.collection, schema=schema_of(dim), exist_ok=True)
        self._table = table
        return table

    async def _database(self) -> Any:
        # What other processes change is seen at once.
        return await lancedb.connect_async(self._options.path, read_consistency_interval=timedelta(0))

    async def _check_size(self, table: Any, size: int) -> None:
        async with self._told("open"):
            known = (await table.schema()).field("vector").type.list_size
        if known != size:
            raise RetrieverError(
                f"The embedder gives vectors of {size} values, and those of the table {self._options.collection!r} have {known}: "
                "it is another model than the one that the table was made with."
            )

    @asynccontextmanager
    async def _told(self, what: str) -> AsyncIterator[None]:
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            raise RetrieverError(
                f"LanceDB failed to {what} {self._options.collection!r} in {self._options.path}: {error!s:.500}"
            ) from error
