"""The provider: MiniLM by the contract of an EmbeddingProvider."""

import asyncio
import os
import weakref
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dspex.plugin import ConfigurationError, Endpoint, HttpClient, PluginError, Usage, Vectors
from dspex_minilm.options import read_options

if TYPE_CHECKING:
    from dspex_minilm.model import Model

MODEL = "all-MiniLM-L6-v2"


class MiniLMProvider:
    """Embeddings in this process; `http` is not used.

    The model is loaded by `start` or the first call, once a process: a forked child loads its own. Any number of loops and
    threads may share this object. Raises ConfigurationError for another model's name, a wrong option, or `api_base`.
    """

    def __init__(self, endpoint: Endpoint, http: HttpClient | None = None) -> None:
        if endpoint.model != MODEL:
            raise ConfigurationError(
                f"The minilm embedder has one model: Embedder('minilm/{MODEL}'), not {endpoint.model!r}."
            )
        if endpoint.base_url is not None:
            raise ConfigurationError(
                f"The minilm embedder works inside this process and has no use for api_base={endpoint.base_url!r}."
            )
        self._options = read_options(endpoint.options)
        self._models: dict[int, Model] = {}
        self._closed = weakref.finalize(self, close_model, self._models)

    @staticmethod
    def notice() -> str:
        """What `dspex doctor` shows. Raises PluginError if the runtime cannot be loaded."""
        load_model_module()
        return f"{MODEL} is under the Apache License 2.0."

    async def start(self) -> None:
        """Load the model. Raises PluginError for a runtime that is missing or a file that is damaged."""
        await asyncio.wrap_future(self._model().encode([""]))

    async def embed(self, texts: list[str]) -> Vectors:
        """One row a text, of length 1; of a long text its first `max_tokens` word pieces are read."""
        from dspex_minilm.model import DIM, put_back, runs

        if not texts:
            return Vectors(b"", DIM, Usage())
        model = self._model()
        pieces = await asyncio.wrap_future(model.encode(texts))
        places = runs([len(own) for own in pieces])
        coming = (asyncio.wrap_future(model.run([pieces[place] for place in run])) for run in places)
        rows = put_back(await asyncio.gather(*coming), places)
        return Vectors(rows, DIM, Usage(sum(map(len, pieces))))

    async def aclose(self) -> None:
        """Let the threads and the model go; a call after this loads it again."""
        await asyncio.to_thread(close_model, self._models)

    def _model(self) -> "Model":
        # By process: a forked child has none of its parent's threads.
        pid = os.getpid()
        found = self._models.get(pid)
        if found is not None:
            return found
        made: Model = load_model_module().Model(self._options.max_tokens, self._options.threads)
        return self._models.setdefault(pid, made)


def load_model_module() -> Any:
    """The module that needs the runtime. Raises PluginError where it cannot be loaded."""
    try:
        return import_module("dspex_minilm.model")
    except ImportError as error:
        raise PluginError(
            f"The runtime of the minilm embedder cannot be loaded: {error}. Install it again: pip install onnxruntime",
            plugin="minilm",
        ) from error


def close_model(models: "dict[int, Model]") -> None:
    """Close this process's model, if it has one; those of a parent process are left alone."""
    model = models.pop(os.getpid(), None)
    if model is not None:
        model.close()
