"""The embedder: Ollama's embeddings of one model."""

from collections.abc import Mapping
from typing import Any

import msgspec

from dspex.plugin import (
    BadRequest,
    Endpoint,
    HttpClient,
    LMError,
    ProtocolError,
    Usage,
    Vectors,
    decode_json,
    status_error,
)
from dspex_ollama.options import OllamaEmbedderOptions, read_options
from dspex_ollama.place import base_url, explain, own_headers, refined_error
from dspex_ollama.wire import embedding_body


class WireVectors(msgspec.Struct):
    """A whole reply."""

    embeddings: list[list[float]] | None = None
    prompt_eval_count: int | None = None
    error: Any = None


class OllamaEmbedder:
    """Vectors of texts, at `api_base`, else at OLLAMA_HOST, else on this machine."""

    def __init__(self, endpoint: Endpoint, http: HttpClient) -> None:
        self.endpoint = endpoint
        self.base_url = base_url(endpoint)
        self._options = read_options(endpoint.options, OllamaEmbedderOptions)
        self._http = http
        self._headers = own_headers(endpoint)
        self._decoder = msgspec.json.Decoder(WireVectors)

    async def embed(self, texts: list[str]) -> Vectors:
        """One row a text, in order. Raises LMError classes."""
        body = embedding_body(self.endpoint.model, texts, self._options)
        try:
            reply = await self._http.request("POST", f"{self.base_url}/api/embed", json=body, headers=self._headers)
        except BadRequest as error:
            await explain(error, self.endpoint, self._http, self.base_url, self._headers)
            raise
        read = decode_json(reply.body, self._decoder)
        if read.error is not None:
            raise status_error(self.endpoint, 500, {}, msgspec.json.encode({"error": read.error}))
        rows = read.embeddings or []
        if len(rows) != len(texts):
            raise ProtocolError(f"{len(texts)} texts got {len(rows)} vectors.", code="retry_once")
        counted = read.prompt_eval_count
        return Vectors.of(rows, None if counted is None else Usage(counted))

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LMError | None:
        """What Ollama tells by words only."""
        return refined_error(self.endpoint, self.base_url, status, headers, body)
