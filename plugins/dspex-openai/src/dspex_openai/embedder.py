"""The embedder: OpenAI's embeddings of one model."""

import base64
import binascii
import sys
from array import array
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dspex.plugin import (
    ContextWindowExceeded,
    Endpoint,
    HttpClient,
    LMError,
    ProtocolError,
    Usage,
    Vectors,
    decode_json,
    status_error,
)
from dspex_openai.options import EmbedderOptions
from dspex_openai.place import base_of, lacks_key, no_key, own_headers
from dspex_openai.provider import OPENAI
from dspex_openai.replies import error_of

TOO_LARGE = b"too large to process"


class WireVector(msgspec.Struct):
    """One text's values, as numbers or as base64 of little-endian float32."""

    embedding: str | list[float]
    index: int | None = None


class WireUsage(msgspec.Struct):
    """Tokens of the texts."""

    prompt_tokens: int | None = None


class WireVectors(msgspec.Struct):
    """A whole reply."""

    data: list[WireVector] | None = None
    usage: WireUsage | None = None
    error: Any = None


class OpenAIEmbedder:
    """Vectors of texts, at `api_base`, else at OPENAI_BASE_URL, else at OpenAI."""

    most_texts = 2048
    most_bytes = 300_000  # it takes as many tokens in one request, and no token is shorter than a byte

    def __init__(self, endpoint: Endpoint, http: HttpClient, options: EmbedderOptions) -> None:
        self.endpoint = endpoint
        self.base_url = base_of(endpoint)
        self._http = http
        self._headers = own_headers(endpoint)
        self._lacks_key = lacks_key(endpoint, self.base_url)
        self._more = self._said(options)
        self._decoder = msgspec.json.Decoder(WireVectors)

    async def embed(self, texts: list[str]) -> Vectors:
        """One row a text, in order. Raises LMError classes."""
        if self._lacks_key:
            raise no_key(self.endpoint)
        body = {"model": self.endpoint.model, "input": texts, **self._more}
        reply = await self._http.request("POST", f"{self.base_url}/embeddings", json=body, headers=self._headers)
        return self._vectors(decode_json(reply.body, self._decoder), len(texts))

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LMError | None:
        """What llama.cpp's server calls a fault of its own: a text that is longer than what it takes at a time."""
        if status != 500 or TOO_LARGE not in body:
            return None
        error = status_error(self.endpoint, status, headers, body, base_url=self.base_url)
        return ContextWindowExceeded(f"{error.message} Cut the text into pieces.")

    def _said(self, options: EmbedderOptions) -> dict[str, Any]:
        encoding = options.encoding
        if encoding == "auto":
            encoding = "base64" if self.base_url == OPENAI else "float"
        # To send nothing is to ask for numbers, and servers that know no encodings take that.
        said: dict[str, Any] = {} if encoding == "float" else {"encoding_format": encoding}
        return said if options.dimensions is None else {**said, "dimensions": options.dimensions}

    def _vectors(self, reply: WireVectors, wanted: int) -> Vectors:
        if reply.error is not None:
            raise error_of(reply.error, self.endpoint)
        rows = reply.data or []
        if len(rows) != wanted:
            raise ProtocolError(f"{wanted} texts got {len(rows)} vectors.", code="retry_once")
        if all(row.index is not None for row in rows):
            rows = sorted(rows, key=lambda row: row.index or 0)
            if [row.index for row in rows] != list(range(wanted)):
                raise ProtocolError(f"The vectors are not those of {wanted} texts, one each.", code="retry_once")
        tokens = reply.usage.prompt_tokens if reply.usage else None
        return Vectors.of((_floats(row.embedding) for row in rows), None if tokens is None else Usage(tokens))


def _floats(given: str | list[float]) -> Iterable[float]:
    """Raises ProtocolError."""
    if not isinstance(given, str):
        return given
    made = array("f")
    try:
        made.frombytes(base64.b64decode(given, validate=True))
    except (binascii.Error, ValueError) as error:
        raise ProtocolError(f"A vector is no base64 of float32: {given[:40]!r}", code="retry_once") from error
    if sys.byteorder == "big":
        made.byteswap()
    return made
