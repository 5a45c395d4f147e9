"""The embedder at Vertex AI, which has another API for them than the Gemini API: predict."""

from collections.abc import Mapping
from typing import Any

import msgspec

from dspex.plugin import (
    Endpoint,
    HttpClient,
    LMError,
    ProtocolError,
    Usage,
    Vectors,
    decode_json,
    status_error,
)
from dspex_gemini.options import VertexEmbedderOptions
from dspex_gemini.place import model_path, own_headers, refined_error

MOST = 250  # texts of one request, but for models that take one


class WireStatistics(msgspec.Struct):
    """Tokens of one text."""

    token_count: float | None = None


class WireEmbedding(msgspec.Struct):
    """One text's values."""

    values: list[float] | None = None
    statistics: WireStatistics | None = None


class WirePrediction(msgspec.Struct):
    """What came of one text."""

    embeddings: WireEmbedding | None = None


class WirePredictions(msgspec.Struct):
    """A whole reply."""

    predictions: list[WirePrediction] | None = None
    error: Any = None


class VertexEmbedder:
    """Vectors of texts at Vertex AI."""

    def __init__(self, endpoint: Endpoint, http: HttpClient, options: VertexEmbedderOptions) -> None:
        self.endpoint = endpoint
        self.base_url = endpoint.base_url or ""
        self._options = options
        self._http = http
        self._url = f"{self.base_url}/{model_path(endpoint.model)}:predict"
        self._headers = own_headers(endpoint)
        self.most_texts = 1 if endpoint.model.startswith("gemini-embedding") else MOST
        self._decoder = msgspec.json.Decoder(WirePredictions)

    async def embed(self, texts: list[str]) -> Vectors:
        """One row a text, in order. Raises LMError classes."""
        named = {} if self._options.task_type is None else {"task_type": self._options.task_type}
        body: dict[str, Any] = {"instances": [{"content": text, **named} for text in texts]}
        if self._options.dimensions is not None:
            body["parameters"] = {"outputDimensionality": self._options.dimensions}
        reply = await self._http.request("POST", self._url, json=body, headers=self._headers)
        read = decode_json(reply.body, self._decoder)
        if read.error is not None:
            raise status_error(self.endpoint, 200, {}, msgspec.json.encode({"error": read.error}))
        rows = [one.embeddings for one in read.predictions or () if one.embeddings is not None]
        if len(rows) != len(texts):
            raise ProtocolError(f"{len(texts)} texts got {len(rows)} vectors.", code="retry_once")
        tokens = int(sum((row.statistics or WireStatistics()).token_count or 0 for row in rows))
        return Vectors.of((row.values or () for row in rows), Usage(tokens) if tokens else None)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LMError | None:
        """What Google tells in the details of a refusal."""
        return refined_error(self.endpoint, self.base_url, status, headers, body)
