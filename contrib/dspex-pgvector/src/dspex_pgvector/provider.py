"""The provider: a table of PostgreSQL by the contract of a SearchingRetriever."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from dspex.plugin import Condition, ConfigurationError, EmbeddingProvider, EndpointClient, Passage, RetrieverError
from dspex_pgvector import sql
from dspex_pgvector.database import Database
from dspex_pgvector.options import read_options

T = TypeVar("T")

AT_A_TIME = 256


class PgvectorProvider:
    """Passages of one table. Raises ConfigurationError for a wrong option or no embedder."""

    def __init__(
        self, options: Mapping[str, Any], http: EndpointClient, embedder: EmbeddingProvider | None = None
    ) -> None:
        if embedder is None:
            raise ConfigurationError(
                "A retriever by vectors makes them by an embedder: Retriever('pgvector', embedder=dspex.Embedder('...'))."
            )
        own = self._options = read_options(options)
        self._embedder = embedder
        key = http.endpoint.api_key
        self._database = Database(own.dsn, None if key is None else key.reveal(), own.connections)
        self._size: int | None = None  # None until the table was seen

    async def retrieve(self, query: str, k: int) -> list[Passage]:
        """The k best passages, best first."""
        return (await self.search([query], k, ()))[0]

    async def search(self, queries: list[str], k: int, where: tuple[Condition, ...]) -> list[list[Passage]]:
        """For each query the k best of the passages for which all conditions hold, in one statement."""
        return await self._as_it_is(partial(self._search, queries, k, where))

    async def _search(self, queries: list[str], k: int, where: tuple[Condition, ...]) -> list[list[Passage]]:
        if await self._known() is None:
            return [[] for _ in queries]
        vectors = await self._embedder.embed(queries)
        await self._check_size(vectors.dim)
        statement, parameters = sql.search(self._options, where)
        texts = [sql.to_text(row) for row in vectors]
        rows = await self._database.run(lambda connection: connection.fetch(statement, texts, k, *parameters))
        found: list[list[Passage]] = [[] for _ in queries]
        for row in rows:
            found[row["place"] - 1].append(sql.to_passage(row, self._options.distance))
        return found

    async def add(self, passages: Sequence[Passage]) -> None:
        """Put passages in, some hundreds a transaction."""
        different = list({passage.id: passage for passage in passages}.values())
        for first in range(0, len(different), AT_A_TIME):
            some = different[first : first + AT_A_TIME]
            vectors = await self._embedder.embed([passage.text for passage in some])
            # In one order, so that two who add the same do not wait for each other.
            rows = sorted(sql.to_row(one, row) for one, row in zip(some, vectors, strict=True))
            await self._as_it_is(partial(self._add, vectors.dim, rows))

    async def _add(self, size: int, rows: Sequence[tuple[str, ...]]) -> None:
        if await self._known() is None:
            await self._create(size)
        await self._check_size(size)
        await self._database.run(partial(_put, sql.upsert(self._options.collection), rows))

    async def delete(self, ids: Sequence[str]) -> None:
        """Take passages out."""
        if ids:
            await self._as_it_is(partial(self._delete, ids))

    async def _delete(self, ids: Sequence[str]) -> None:
        if await self._known() is not None:
            statement = sql.delete(self._options.collection)
            await self._database.run(lambda connection: connection.execute(statement, list(ids)))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._database.aclose()

    async def _as_it_is(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work()` gives; once more where somebody has dropped the table, or made it anew, since it was seen."""
        seen = self._size
        try:
            return await work()
        except RetrieverError:
            self._size = None
            if seen is None or await self._known() == seen:
                raise
            return await work()

    async def _known(self) -> int | None:
        if self._size is None:
            name = f'"{self._options.collection}"'
            self._size = await self._database.run(lambda connection: connection.fetchval(sql.SIZE, name))
        return self._size

    async def _create(self, size: int) -> None:
        async def work(connection: Any) -> None:
            async with connection.transaction():
                # IF NOT EXISTS is no lock: two at once would still meet.
                await connection.execute(sql.LOCK, f"dspex {self._options.collection}")
                await connection.execute(sql.EXTENSION)
                await connection.execute(sql.create(self._options.collection, size))

        await self._database.run(work)

    async def _check_size(self, size: int) -> None:
        known = await self._known()
        if known != size:
            raise RetrieverError(
                f"The embedder gives vectors of {size} values, and those of the table {self._options.collection!r} have {known}: "
                "it is another model than the one that the table was made with."
            )


async def _put(statement: str, rows: Sequence[tuple[str, ...]], connection: Any) -> None:
    await connection.executemany(statement, rows)
