"""The provider: a collection of a Chroma server by the contract of a SearchingRetriever."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from dspex.plugin import (
    BadRequest,
    Condition,
    ConfigurationError,
    EmbeddingProvider,
    EndpointClient,
    HttpReply,
    LMError,
    LMTimeout,
    Passage,
    Vectors,
    by_parts,
    decode_json,
)
from dspex_chroma.options import read_options
from dspex_chroma.wire import Collection, refusal, to_collection, to_fields, to_metadata, to_passages, to_where

LOCAL = "http://localhost:8000"
AT_A_TIME = 256
QUERIES = 64  # of one request: the passages of all come in one reply
ABSENT = 404


class Limits(msgspec.Struct):
    """What the server says it takes."""

    supports_base64_encoding: bool = False


class ChromaProvider:
    """Passages of one collection, over Chroma's HTTP API, version 2. Raises ConfigurationError for a wrong option or no embedder.

    `api_base` is the server, http://localhost:8000 where it is not given; `api_key` goes into the header x-chroma-token.
    """

    request_s = 120.0

    def __init__(
        self, options: Mapping[str, Any], http: EndpointClient, embedder: EmbeddingProvider | None = None
    ) -> None:
        if embedder is None:
            raise ConfigurationError(
                "A retriever by vectors makes them by an embedder: Retriever('chroma', embedder=dspex.Embedder('...'))."
            )
        self._options = read_options(options)
        self._http = http
        self._embedder = embedder
        self.base_url = (http.endpoint.base_url or LOCAL).rstrip("/")
        own = self._options
        self._collections = f"/api/v2/tenants/{own.tenant}/databases/{own.database}/collections"
        self._collection: Collection | None = None
        self._takes_base64 = False

    async def start(self) -> None:
        """Find the collection, or make it. Raises LMError classes where the server cannot be used."""
        reply = await self._send("GET", "/api/v2/pre-flight-checks")
        self._takes_base64 = decode_json(reply.body, Limits).supports_base64_encoding
        await self._found()

    async def retrieve(self, query: str, k: int) -> list[Passage]:
        """The k best passages, best first."""
        return (await self.search([query], k, ()))[0]

    async def search(self, queries: list[str], k: int, where: tuple[Condition, ...]) -> list[list[Passage]]:
        """For each query the k best of the passages for which all conditions hold, some dozens a request."""
        narrowed = to_where(where)
        asked: dict[str, Any] = {"n_results": k, "include": ["documents", "metadatas", "distances"]}
        if narrowed is not None:
            asked["where"] = narrowed

        async def some(rows: Sequence[Any]) -> list[list[Passage]]:
            vectors = [row.tolist() for row in rows]
            collection, reply = await self._asked("query", {**asked, "query_embeddings": vectors})
            return to_passages(reply.body, collection.space)

        found = await by_parts(list(await self._embedder.embed(queries)), QUERIES, some)
        return list(chain.from_iterable(found))

    async def add(self, passages: Sequence[Passage]) -> None:
        """Put passages in, some hundreds a request."""
        different = list({passage.id: passage for passage in passages}.values())
        for first in range(0, len(different), AT_A_TIME):
            await self._add(different[first : first + AT_A_TIME])

    async def _add(self, passages: Sequence[Passage]) -> None:
        texts = [passage.text for passage in passages]
        rows = self._packed(await self._embedder.embed(texts))
        metadatas = [to_metadata(passage) for passage in passages]
        names = [passage.id for passage in passages]
        for metadata, before in zip(metadatas, await self._fields(names), strict=True):
            # Fields that are not named stay as they are.
            metadata.update(dict.fromkeys(before - metadata.keys()))
        await self._asked("upsert", {"ids": names, "embeddings": rows, "documents": texts, "metadatas": metadatas})

    async def _fields(self, names: Sequence[str]) -> list[set[str]]:
        _, reply = await self._asked("get", {"ids": names, "include": ["metadatas"]})
        known = to_fields(reply.body)
        return [known.get(name, set()) for name in names]

    async def delete(self, ids: Sequence[str]) -> None:
        """Take passages out."""
        for first in range(0, len(ids), AT_A_TIME):
            await self._asked("delete", {"ids": list(ids[first : first + AT_A_TIME])})

    def _packed(self, vectors: Vectors) -> list[Any]:
        if self._takes_base64:
            return [base64.b64encode(row).decode() for row in vectors]
        return [row.tolist() for row in vectors]

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LMError | None:
        """Refusals in Chroma's own words."""
        return refusal(status, body)

    # The server

    async def _asked(self, what: str, body: Mapping[str, Any]) -> tuple[Collection, HttpReply]:
        collection = self._collection or await self._found()
        try:
            return collection, await self._send("POST", f"{self._collections}/{collection.id}/{what}", body)
        except BadRequest as error:
            if error.status != ABSENT:
                raise
        # Somebody has deleted it, and perhaps made it anew.
        collection = await self._found()
        return collection, await self._send("POST", f"{self._collections}/{collection.id}/{what}", body)

    async def _found(self) -> Collection:
        own = self._options
        wanted = {"name": own.collection, "get_or_create": True, "configuration": {"hnsw": {"space": own.space}}}
        reply = await self._send("POST", self._collections, wanted)
        self._collection = collection = to_collection(reply.body)
        return collection

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> HttpReply:
        key = self._http.endpoint.api_key
        headers = {} if key is None else {"x-chroma-token": key.reveal()}
        try:
            # A search has a deadline; a change has none but this.
            async with asyncio.timeout(self.request_s):
                return await self._http.request(method, f"{self.base_url}{path}", json=body, headers=headers)
        except TimeoutError as error:
            said = f"No reply of {self.base_url} within {self.request_s:g} s."
            raise LMTimeout(said, provider="chroma") from error
