"""The ways to an engine: a server over HTTP, or qdrant-client's own engine on a thread of this process."""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from dspex.plugin import BadRequest, EndpointClient, LMTimeout, PluginError, ProtocolError, RetrieverError, decode_json
from dspex_qdrant.options import MEMORY

T = TypeVar("T")

LOCAL_SERVER = "http://localhost:6333"
ABSENT = 404


class Transport(Protocol):
    """One collection of an engine; requests and replies in the form of the HTTP API."""

    async def vectors(self) -> Mapping[str, Any] | None:
        """Size and distance of the collection's vectors; None where there is no collection."""

    async def create(self, vectors: Mapping[str, Any]) -> None:
        """Make the collection; one that is there stays."""

    async def upsert(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Put points in."""

    async def delete(self, ids: Sequence[str]) -> None:
        """Take points out."""

    async def query(self, searches: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
        """For each search the points that were found."""

    async def aclose(self) -> None:
        """Let go of what is open."""


class Remote:
    """A server."""

    request_s = 120.0

    def __init__(self, http: EndpointClient, collection: str) -> None:
        self._http = http
        self.base_url = (http.endpoint.base_url or LOCAL_SERVER).rstrip("/")
        self._url = f"{self.base_url}/collections/{quote(collection, safe='')}"

    async def vectors(self) -> Mapping[str, Any] | None:
        try:
            found = await self._send("GET", "")
        except BadRequest as error:
            if error.status == ABSENT:
                return None
            raise
        made: Any = found
        for name in ("config", "params", "vectors"):
            made = made.get(name) if isinstance(made, dict) else None
        return made if isinstance(made, dict) else {}

    async def create(self, vectors: Mapping[str, Any]) -> None:
        try:
            await self._send("PUT", "", {"vectors": dict(vectors)})
        except BadRequest:
            if await self.vectors() is None:  # else another has been quicker
                raise

    async def upsert(self, points: Sequence[Mapping[str, Any]]) -> None:
        await self._send("PUT", "/points?wait=true", {"points": list(points)})

    async def delete(self, ids: Sequence[str]) -> None:
        await self._send("POST", "/points/delete?wait=true", {"points": list(ids)})

    async def query(self, searches: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
        found = await self._send("POST", "/points/query/batch", {"searches": list(searches)})
        try:
            return [list(one["points"]) for one in found]
        except (KeyError, TypeError) as error:
            raise ProtocolError(f"Qdrant's reply is none to a query: {found!r:.120}.", provider="qdrant") from error

    async def aclose(self) -> None:
        """The kernel closes its connections."""

    async def _send(self, method: str, path: str, body: Any = None) -> Any:
        key = self._http.endpoint.api_key
        headers = {} if key is None else {"api-key": key.reveal()}
        try:
            # A search has a deadline; a change has none but this.
            async with asyncio.timeout(self.request_s):
                reply = await self._http.request(method, f"{self._url}{path}", json=body, headers=headers)
        except TimeoutError as error:
            said = f"No reply of {self.base_url} within {self.request_s:g} s."
            raise LMTimeout(said, provider="qdrant") from error
        try:
            return decode_json(reply.body, dict[str, Any])["result"]
        except KeyError as error:
            raise ProtocolError(f"That is no reply of Qdrant's: {reply.body[:120]!r}.", provider="qdrant") from error


class Local:
    """The engine of qdrant-client over a folder, or in memory. It is no engine for threads, so it has one of its own."""

    def __init__(self, path: str, collection: str) -> None:
        self._path = path
        self._collection = collection
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._client: Any = None
        self._models: Any = None

    async def vectors(self) -> Mapping[str, Any] | None:
        def work() -> Mapping[str, Any] | None:
            if not self._client.collection_exists(self._collection):
                return None
            vectors = self._client.get_collection(self._collection).config.params.vectors
            return {} if isinstance(vectors, dict) else {"size": vectors.size, "distance": vectors.distance.value}

        return await self._on_thread(work)

    async def create(self, vectors: Mapping[str, Any]) -> None:
        def work() -> None:
            if not self._client.collection_exists(self._collection):
                config = self._models.VectorParams.model_validate(dict(vectors))
                self._client.create_collection(self._collection, vectors_config=config)

        await self._on_thread(work)

    async def upsert(self, points: Sequence[Mapping[str, Any]]) -> None:
        def work() -> None:
            made = [self._models.PointStruct.model_validate(point) for point in points]
            self._client.upsert(self._collection, made)

        await self._on_thread(work)

    async def delete(self, ids: Sequence[str]) -> None:
        def work() -> None:
            self._client.delete(self._collection, self._models.PointIdsList(points=list(ids)))

        await self._on_thread(work)

    async def query(self, searches: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
        def work() -> list[list[Any]]:
            made = [self._models.QueryRequest.model_validate(search) for search in searches]
            found = self._client.query_batch_points(self._collection, made)
            return [[point.model_dump() for point in one.points] for one in found]

        return await self._on_thread(work)

    async def aclose(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.submit(self._close)
            await asyncio.to_thread(pool.shutdown)

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def _on_thread(self, work: Callable[[], T]) -> T:
        self._check_process()
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, "dspex-qdrant")
            future = self._pool.submit(self._ready, work)
        return await asyncio.wrap_future(future)

    def _check_process(self) -> None:
        pid = os.getpid()
        if self._pid == pid:
            return
        if self._path != MEMORY and self._client is not None:
            raise RetrieverError(
                f"The folder {self._path} was opened before this process was forked, and is of one process at a time: open it here "
                "first, or use a server."
            )
        # In memory the child has a copy of all, but none of the threads.
        self._pid, self._lock, self._pool = pid, threading.Lock(), None

    def _ready(self, work: Callable[[], T]) -> T:
        if self._client is None:
            self._client = self._opened()
        try:
            return work()
        except ValueError as error:
            raise RetrieverError(f"Qdrant's engine refuses the request: {error!s:.500}") from error

    def _opened(self) -> Any:
        try:
            client: Any = import_module("qdrant_client")
            self._models = client.models
        except ImportError as error:
            raise PluginError(
                f"path={self._path!r} needs qdrant-client: pip install 'dspex-qdrant[local]' ({error}).",
                plugin="qdrant",
            ) from error
        try:
            if self._path == MEMORY:
                return client.QdrantClient(MEMORY)
            _make_private(self._path)
            return client.QdrantClient(path=self._path)
        except (OSError, RuntimeError, ValueError) as error:
            raise RetrieverError(f"The folder {self._path} cannot be opened: {error}") from error


def _make_private(path: str) -> None:
    if not os.path.exists(path):  # noqa: PTH110  as the engine names it
        os.makedirs(path, mode=0o700, exist_ok=True)  # noqa: PTH103  as above
