"""The embedder: batchEmbedContents of one model."""

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
from dspex_gemini.options import GeminiEmbedderOptions, read_options
from dspex_gemini.place import base_url, lacks_key, model_path, no_key, own_headers, refined_error


class WireVector(msgspec.Struct):
    """One text's values."""

    values: list[float] | None = None


class WireUsage(msgspec.Struct, rename="camel"):
    """Tokens; not every model tells them."""

    prompt_token_count: int | None = None


class WireVectors(msgspec.Struct, rename="camel"):
    """A whole reply."""

    embeddings: list[WireVector] | None = None
    usage_metadata: WireUsage | None = None
    error: Any = None


class GeminiEmbedder:
    """Vectors of texts, at `api_base`, else at GEMINI_BASE_URL, else at Google."""

    most_texts = 100  # what the API takes in one batch

    def __init__(self, endpoint: Endpoint, http: HttpClient) -> None:
        self.endpoint = endpoint
        self.base_url = base_url(endpoint)
        self._options = read_options(endpoint.options, GeminiEmbedderOptions)
        self._http = http
        self._name = model_path(endpoint.model)
        self._headers = own_headers(endpoint)
        self._lacks_key = lacks_key(endpoint, self.base_url)
        self._decoder = msgspec.json.Decoder(WireVectors)

    async def embed(self, texts: list[str]) -> Vectors:
        """One row a text, in order. Raises LMError classes."""
        if self._lacks_key:
            raise no_key(self.endpoint)
        body = {"requests": [self._request(text) for text in texts]}
        path = f"{self.base_url}/{self._name}:batchEmbedContents"
        reply = await self._http.request("POST", path, json=body, headers=self._headers)
        read = decode_json(reply.body, self._decoder)
        if read.error is not None:
            raise status_error(self.endpoint, 200, {}, msgspec.json.encode({"error": read.error}))
        rows = read.embeddings or []
        if len(rows) != len(texts):
            raise ProtocolError(f"{len(texts)} texts got {len(rows)} vectors.", code="retry_once")
        tokens = (read.usage_metadata or WireUsage()).prompt_token_count
        return Vectors.of((row.values or () for row in rows), Usage(tokens) if tokens else None)

    def _request(self, text: str) -> dict[str, Any]:
        made: dict[str, Any] = {"model": self._name, "content": {"parts": [{"text": text}]}}
        if self._options.task_type is not None:
            made["taskType"] = self._options.task_type
        if self._options.dimensions is not None:
            made["outputDimensionality"] = self._options.dimensions
        return made

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LMError | None:
        """What Google tells in the details of a refusal."""
        return refined_error(self.endpoint, self.base_url, status, headers, body)
