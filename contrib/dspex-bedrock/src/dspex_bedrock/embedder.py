"""The embedder: Titan's and Cohere's models at Bedrock, by InvokeModel."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dspex.plugin import (
    BadRequest,
    ConfigurationError,
    Endpoint,
    HttpClient,
    LMError,
    ProtocolError,
    Usage,
    Vectors,
    decode_json,
    status_error,
)
from dspex_bedrock.options import BedrockEmbedderOptions, read_options
from dspex_bedrock.refusals import refined_error
from dspex_bedrock.signing import Place

MOST = 96  # texts of one request, where it takes several
COUNTED = "x-amzn-bedrock-input-token-count"


class WireTitan(msgspec.Struct, rename="camel"):
    """A reply of Titan's: one vector."""

    embedding: list[float] | None = None
    input_text_token_count: int | None = None
    error: Any = None


class WireTypes(msgspec.Struct):
    """Cohere's vectors by the type of their values."""

    floats: list[list[float]] | None = msgspec.field(name="float", default=None)


class WireCohere(msgspec.Struct):
    """A reply of Cohere's: a vector a text."""

    embeddings: WireTypes | list[list[float]] | None = None
    error: Any = None


Found = tuple[list[list[float]], int | None]


class BedrockEmbedder:
    """Vectors of texts, at `api_base`, else at AWS_ENDPOINT_URL_BEDROCK_RUNTIME, else in a region of AWS.

    Raises ConfigurationError for a model of another family.
    """

    def __init__(self, endpoint: Endpoint, http: HttpClient) -> None:
        self._options = read_options(endpoint.options, BedrockEmbedderOptions)
        self._is_titan = _is_titan(endpoint.model)
        self.most_texts = 1 if self._is_titan else MOST
        place = Place(endpoint, self._options)
        self.endpoint = msgspec.structs.replace(endpoint, api_key=place.key)  # so that no error shows it
        self.base_url = place.base_url
        self._signer = place.signer
        self._http = http
        self._url = place.url(endpoint.model, "invoke")
        self._decoder: msgspec.json.Decoder[WireTitan | WireCohere] = msgspec.json.Decoder(
            WireTitan if self._is_titan else WireCohere
        )

    async def embed(self, texts: list[str]) -> Vectors:
        """One row a text, in order. Raises LMError classes."""
        try:
            body = msgspec.json.encode(self._titan_body(texts[0]) if self._is_titan else self._cohere_body(texts))
        except (TypeError, ValueError) as error:
            raise BadRequest(f"The text cannot be written as JSON: {error}") from error
        headers = await self._signer.headers(self._url, body)
        reply = await self._http.request("POST", self._url, body=body, headers=headers)
        told = reply.headers.get(COUNTED, "")
        rows, count = self._read(reply.body)
        if len(rows) != len(texts):
            raise ProtocolError(f"{len(texts)} texts got {len(rows)} vectors.", code="retry_once")
        tokens = count if count is not None else int(told) if told.isdecimal() else None
        return Vectors.of(rows, None if tokens is None else Usage(tokens))

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LMError | None:
        """What AWS tells otherwise than most."""
        return refined_error(self.endpoint, self.base_url, status, headers, body)

    def _read(self, body: bytes) -> Found:
        read = decode_json(body, self._decoder)
        if read.error is not None:
            raise status_error(self.endpoint, 200, {}, msgspec.json.encode({"error": read.error}))
        if isinstance(read, WireTitan):
            return ([read.embedding] if read.embedding is not None else []), read.input_text_token_count
        given = read.embeddings
        return (given.floats if isinstance(given, WireTypes) else given) or [], None

    def _titan_body(self, text: str) -> dict[str, Any]:
        chosen = self._options.dimensions
        return {"inputText": text} if chosen is None else {"inputText": text, "dimensions": chosen, "normalize": True}

    def _cohere_body(self, texts: Sequence[str]) -> dict[str, Any]:
        options = self._options
        body: dict[str, Any] = {"texts": texts, "input_type": options.input_type, "embedding_types": ["float"]}
        if options.truncate is not None:
            body["truncate"] = options.truncate
        if options.dimensions is not None:
            body["output_dimension"] = options.dimensions
        return body


def _is_titan(model: str) -> bool:
    if "titan-embed" in model:
        return True
    if "cohere.embed" in model:
        return False
    raise ConfigurationError(
        f"bedrock: {model!r} is no embedding model that is known here; those are Titan's (amazon.titan-embed-text-v2:0) and "
        "Cohere's (cohere.embed-english-v3, cohere.embed-v4:0), also with a region before their name."
    )
