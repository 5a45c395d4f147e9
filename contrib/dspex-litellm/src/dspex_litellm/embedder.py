"""The embedder: one embedding model that LiteLLM calls."""

import os
from array import array
from typing import Any

import msgspec

from dspex.plugin import Endpoint, HttpClient, LMError, ProtocolError, Usage, Vectors
from dspex_litellm.desk import Desk
from dspex_litellm.failures import translated
from dspex_litellm.options import LiteLLMEmbedderOptions, read_options, said
from dspex_litellm.replies import Tokens
from dspex_litellm.wire import place


class Row(msgspec.Struct):
    """One text's values."""

    embedding: list[float]
    index: int | None = None


class Rows(msgspec.Struct):
    """A whole reply."""

    data: list[Row]
    usage: Tokens | None = None


class LiteLLMEmbedder:
    """Whatever embedding model LiteLLM reaches."""

    def __init__(self, endpoint: Endpoint, http: HttpClient) -> None:
        self.endpoint = endpoint
        self.base_url = endpoint.base_url
        self._options = read_options(endpoint.options, LiteLLMEmbedderOptions)
        self._desk: Desk | None = None

    async def start(self) -> None:
        """Import LiteLLM, in its own thread."""
        await self._at_desk().started()

    async def embed(self, texts: list[str]) -> Vectors:
        """One row a text, in order. Raises LMError classes."""
        keywords = {**place(self.endpoint, said(self._options)), "model": self.endpoint.model, "input": texts}
        try:
            desk = self._at_desk()
            keywords["num_retries"] = 0
            given = await desk.call(lambda litellm: litellm.aembedding(**keywords, shared_session=desk.session()))
            return _vectors(given, len(texts))
        except LMError:
            raise
        except Exception as error:  # noqa: BLE001  LiteLLM's own, of many classes
            failure = translated(error, self.endpoint)
        raise failure  # outside the block, as in the provider

    async def aclose(self) -> None:
        """End LiteLLM's thread."""
        desk, self._desk = self._desk, None
        if desk is not None:
            await desk.aclose()

    def _at_desk(self) -> Desk:
        if self._desk is None or self._desk.pid != os.getpid():
            self._desk = Desk()
        return self._desk


def _vectors(given: Any, wanted: int) -> Vectors:
    try:
        reply = msgspec.convert(given.model_dump(warnings=False), Rows)
    except (msgspec.ValidationError, AttributeError, TypeError) as error:
        raise ProtocolError(f"LiteLLM gave no vectors: {str(error)[:200]}", code="retry_once") from error
    if len(reply.data) != wanted:
        raise ProtocolError(f"{wanted} texts got {len(reply.data)} vectors.", code="retry_once")
    rows = sorted(reply.data, key=lambda row: row.index or 0)
    values = array("f", [value for row in rows for value in row.embedding])
    tokens = reply.usage.prompt_tokens if reply.usage else None
    return Vectors(values, len(values) // wanted if wanted else 0, None if tokens is None else Usage(tokens))
