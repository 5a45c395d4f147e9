"""The provider: a collection of Qdrant by the contract of a SearchingRetriever."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from dspex.plugin import (
    BadRequest,
    Condition,
    ConfigurationError,
    EmbeddingProvider,
    EndpointClient,
    LMError,
    Passage,
    RetrieverError,
    all_hold,
    by_parts,
)
from dspex_qdrant.options import read_options
from dspex_qdrant.transport import Local, Remote, Transport
from dspex_qdrant.wire import point_id, refusal, to_filter, to_passage, to_point

T = TypeVar("T")

AT_A_TIME = 256
QUERIES = 64  # of one request: the passages of all come in one reply


class QdrantProvider:
    """Passages of one collection. Raises ConfigurationError for a wrong option, no embedder, or two places.

    `api_base` is the server, http://localhost:6333 where neither it nor `path` is given; `api_key` goes into the header api-key.
    """

    def __init__(
        self, options: Mapping[str, Any], http: EndpointClient, embedder: EmbeddingProvider | None = None
    ) -> None:
        if embedder is None:
            raise ConfigurationError(
                "A retriever by vectors makes them by an embedder: Retriever('qdrant', embedder=dspex.Embedder('...'))."
            )
        own = self._options = read_options(options)
        self._embedder = embedder
        self.base_url: str | None = None
        if own.path is None:
            remote = Remote(http, own.collection)
            self._transport: Transport = remote
            self.base_url = remote.base_url
        elif http.endpoint.base_url is not None:
            raise ConfigurationError(
                f"path={own.path!r} is in this process, and api_base is a server: leave one of the two out."
            )
        else:
            self._transport = Local(own.path, own.collection)
        self._vectors: Mapping[str, Any] | None = None  # None until the collection was seen

    async def retrieve(self, query: str, k: int) -> list[Passage]:
        """The k best passages, best first."""
        return (await self.search([query], k, ()))[0]

    async def search(self, queries: list[str], k: int, where: tuple[Condition, ...]) -> list[list[Passage]]:
        """For each query the k best of the passages for which all conditions hold, some dozens a request."""
        return await self._as_it_is(partial(self._search, queries, k, where))

    async def _search(self, queries: list[str], k: int, where: tuple[Condition, ...]) -> list[list[Passage]]:
        made = await self._known()
        if made is None:
            return [[] for _ in queries]
        vectors = await self._embedder.embed(queries)
        self._check_size(vectors.dim, made)
        distance = str(made.get("distance", self._options.distance))
        nearest = partial(self._nearest, k, where, distance)
        return list(chain.from_iterable(await by_parts(list(vectors), QUERIES, nearest)))

    async def _nearest(
        self, k: int, where: tuple[Condition, ...], distance: str, rows: Sequence[Any]
    ) -> list[list[Passage]]:
        narrowed, limit = to_filter(where, self._options), k
        while True:
            asked = {"limit": limit, "filter": narrowed, "with_payload": True}
            points = await self._transport.query([{**asked, "query": row.tolist()} for row in rows])
            found = [[to_passage(point, self._options, distance) for point in own] for own in points]
            # Qdrant's filter lets through an element of a list too, and numbers that are equal as floats.
            kept = [[one for one in own if all_hold(where, one.metadata)][:k] for own in found]
            if all(len(ours) == k or len(own) < limit for ours, own in zip(kept, found, strict=True)):
                return kept
            limit *= 4

    async def add(self, passages: Sequence[Passage]) -> None:
        """Put passages in, some hundreds a request."""
        different = list({passage.id: passage for passage in passages}.values())
        for first in range(0, len(different), AT_A_TIME):
            some = different[first : first + AT_A_TIME]
            vectors = await self._embedder.embed([passage.text for passage in some])
            points = [to_point(one, row, self._options) for one, row in zip(some, vectors, strict=True)]
            await self._as_it_is(partial(self._add, vectors.dim, points))

    async def _add(self, size: int, points: Sequence[Mapping[str, Any]]) -> None:
        self._check_size(size, await self._known() or await self._created(size))
        await self._transport.upsert(points)

    async def delete(self, ids: Sequence[str]) -> None:
        """Take passages out."""
        if ids:
            await self._as_it_is(partial(self._delete, ids))

    async def _delete(self, ids: Sequence[str]) -> None:
        if await self._known() is not None:
            await self._transport.delete([point_id(name) for name in ids])

    async def aclose(self) -> None:
        """Let go of what is open in the process."""
        await self._transport.aclose()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LMError | None:
        """Refusals in Qdrant's own words."""
        return refusal(status, body)

    async def _as_it_is(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work()` gives; once more where somebody has deleted the collection, or made it anew, since it was seen."""
        seen = self._vectors
        try:
            return await work()
        except (RetrieverError, BadRequest):
            self._vectors = None
            if seen is None or await self._known() == seen:
                raise
            return await work()

    async def _known(self) -> Mapping[str, Any] | None:
        if self._vectors is None:
            self._vectors = await self._transport.vectors()
        return self._vectors

    async def _created(self, size: int) -> Mapping[str, Any]:
        await self._transport.create({"size": size, "distance": self._options.distance})
        made = self._vectors = await self._transport.vectors() or {}
        return made

    def _check_size(self, size: int, made: Mapping[str, Any]) -> None:
        if "size" not in made:
            raise RetrieverError(
                f"The collection {self._options.collection!r} has named vectors, or several, which is not supported."
            )
        if made["size"] != size:
            raise RetrieverError(
                f"The embedder gives vectors of {size} values, and those of the collection {self._options.collection!r} have "
                f"{made['size']}: it is another model than the one that the collection was made with."
            )
