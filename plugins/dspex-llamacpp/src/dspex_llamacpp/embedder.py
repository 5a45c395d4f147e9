"""The embedder: vectors by llama.cpp in this process, by the contract of an EmbeddingProvider."""

import asyncio
import os
import weakref
from array import array
from collections.abc import Mapping
from typing import Any

import msgspec

from dspex.plugin import (
    BadRequest,
    ConfigurationError,
    ContextWindowExceeded,
    Endpoint,
    HttpClient,
    LMError,
    ProtocolError,
    Unavailable,
    Usage,
    Vectors,
)
from dspex_llamacpp.catalogue import source_of
from dspex_llamacpp.engine import Engine
from dspex_llamacpp.options import LlamaCppOptions, read_embedding_options
from dspex_llamacpp.provider import close_engine
from dspex_llamacpp.wire import to_error

TOO_LARGE = "too large to process"


class LlamaCppEmbedder:
    """Vectors of one embedded model; `http` is not used.

    It is loaded by `start` or the first call, once a process: a forked child loads its own. Any number of loops and threads may
    share this object; texts are worked on one by one. Raises ConfigurationError for a model or an option that it does not
    know, and for `api_base`.
    """

    def __init__(self, endpoint: Endpoint, http: HttpClient | None = None) -> None:
        if endpoint.base_url is not None:
            raise ConfigurationError(
                f"The llamacpp embedder works inside this process and has no use for api_base={endpoint.base_url!r}. "
                "For a llama.cpp server that runs elsewhere use Embedder('openai/...', api_base=...)."
            )
        given = self._given = read_embedding_options(endpoint.options)
        self._options = LlamaCppOptions(given.path, given.sha256, max(256, given.context), threads=given.threads)
        self._source = source_of(endpoint, self._options)
        self._engines: dict[int, Engine] = {}
        # At exit too: work that outlived the interpreter would crash the process.
        self._closed = weakref.finalize(self, close_engine, self._engines)

    async def start(self) -> None:
        """Load the model. Raises ConfigurationError for its file, PluginError for a library or package that is missing."""
        await asyncio.wrap_future(self._engine().submit(lambda _engine: None))

    async def embed(self, texts: list[str]) -> Vectors:
        """One row a text, of length 1. Raises ContextWindowExceeded for a text above `context` tokens, BadRequest."""
        data, dim, tokens = array("f"), 0, 0
        for text in texts:
            # One at a time: what has not begun ends with its call, and another call's texts come between.
            row, used = await asyncio.wrap_future(self._engine().submit(_Work(text)))
            data.extend(row)
            dim, tokens = len(row), tokens + used
        return Vectors(data, dim, Usage(tokens))

    async def aclose(self) -> None:
        """Free the model; a call after this loads it again."""
        await asyncio.to_thread(close_engine, self._engines)

    def _engine(self) -> Engine:
        # By process: a forked child has neither the threads of its parent's engine nor a right to its locks.
        pid = os.getpid()
        return self._engines.get(pid) or self._engines.setdefault(pid, Engine(self._source, self._options, self._given))


class _Work(msgspec.Struct, frozen=True):
    """One text, embedded on a thread of the engine's: its row, and how many tokens it has."""

    text: str

    def __call__(self, engine: Engine) -> tuple[list[float], int]:
        if engine.closing.is_set():
            raise Unavailable("The model was closed with its App.", provider="llamacpp", retryable=False)
        try:
            reply = engine.embed(self.text)
        except ValueError as error:
            raise BadRequest(f"The text has no form that the engine can read: {error}", provider="llamacpp") from error
        if "error" in reply:
            raise _error(reply["error"])
        return read_reply(reply)


def read_reply(reply: Mapping[str, Any]) -> tuple[list[float], int]:
    """The row of a reply, and its tokens. Raises ProtocolError for what is none."""
    try:
        [one] = reply["data"]
        return one["embedding"], reply["usage"]["prompt_tokens"]
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"The engine gave no vector, but {reply!r:.120}.", provider="llamacpp") from error


def _error(given: Mapping[str, Any]) -> LMError:
    if TOO_LARGE in str(given.get("message")):
        return ContextWindowExceeded(
            f"{given['message']}: cut the text into pieces, or give the model more by Embedder(..., context=...).",
            provider="llamacpp",
        )
    return to_error(given)
