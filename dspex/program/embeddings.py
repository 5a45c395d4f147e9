"""Embeddings: search in a list of texts by their vectors, as DSPy's programs do; the index is that of dspex-vectors."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from dspex.app.app import current_app
from dspex.app.embedder import Embedder
from dspex.app.retriever import Retriever
from dspex.core.errors import InputError, ProgramFileError, RetrieverError
from dspex.core.example import Prediction
from dspex.core.identity import digest
from dspex.core.messages import Passage
from dspex.core.where import Condition
from dspex.program.module import Module
from dspex.program.saving import write_atomically
from dspex.runtime.scope import SCOPE
from dspex.service.flight import SingleFlight

PLUGIN = "vectors"
HEAD = "config.json"


class Head(msgspec.Struct, frozen=True):
    """What `config.json` says; in a folder that DSPy has saved, the corpus too."""

    k: int
    normalize: bool
    brute_force_threshold: int = 20_000
    name: str = ""  # what tells its corpus from others; DSPy writes none


class SavedIndexMissing(RetrieverError, FileNotFoundError):
    """There is no saved index at that path."""


class Corpus:
    """The RetrieverProvider of an Embeddings: the plugin's, made and filled when it is first needed, and once."""

    def __init__(self, texts: Sequence[str], embedder: Embedder, options: Mapping[str, Any]) -> None:
        self._texts = texts
        self._embedder = embedder
        self._options = options
        self._made: Any = None
        self._flight: SingleFlight[bool] = SingleFlight()

    async def ready(self) -> Any:
        """The plugin's provider, filled. Raises ConfigurationError where the plugin is missing, and what embedding raises."""
        if self._made is None:
            await self._flight.join(b"", self._make)
        return self._made

    async def _make(self) -> bool:
        if self._made is None:
            spec = current_app().plugins.spec("retrievers", PLUGIN, "dspex.Embeddings")
            provider: Any = spec.load()(dict(self._options), None, self._embedder)
            if self._texts:
                await provider.add([Passage(text, id=str(place)) for place, text in enumerate(self._texts)])
            self._made = provider
        return True

    async def retrieve(self, query: str, k: int) -> list[Passage]:
        found: list[Passage] = await (await self.ready()).retrieve(query, k)
        return found

    async def texts(self) -> list[str]:
        """All texts of an index that was opened, in their order."""
        passages = await (await self.ready()).passages()
        return [one.text for one in sorted(passages, key=lambda one: int(one.id))]

    async def search(self, queries: list[str], k: int, where: tuple[Condition, ...]) -> list[list[Passage]]:
        found: list[list[Passage]] = await (await self.ready()).search(queries, k, where)
        return found


class Embeddings(Module):
    """Search in `corpus` by vectors: `embeddings(query)` gives `passages` and their `indices` in it, best first.

    `embedder` is an Embedder, or what makes one. The corpus is embedded once, at the first call, or by `await prepare()`.
    From `brute_force_threshold` texts on a graph finds the candidates, where usearch is installed. `cache=True` keeps results,
    by query, k and content of the corpus. The index has the Retriever's callbacks, and the embedder's retries and limits.
    """

    def __init__(  # noqa: PLR0917  DSPy's order
        self,
        corpus: Sequence[str],
        embedder: Embedder | str | Callable[..., Any],
        k: int = 5,
        callbacks: Sequence[Any] | None = None,
        cache: bool = False,
        brute_force_threshold: int = 20_000,
        normalize: bool = True,
    ) -> None:
        super().__init__(callbacks)
        texts = _checked(corpus)
        self._texts: list[str] | None = texts
        name = f"embeddings-{digest([texts, normalize])}"
        self._set(embedder, Head(k, normalize, brute_force_threshold, name), cache=cache, path=None)

    def _set(self, embedder: Any, head: Head, *, cache: bool, path: str | None) -> None:
        self.embedder = embedder if isinstance(embedder, Embedder) else Embedder(embedder)
        self.k, self.normalize = head.k, head.normalize
        self.brute_force_threshold = head.brute_force_threshold
        options = {"normalize": head.normalize, "approximate_from": head.brute_force_threshold, "path": path}
        self._provider = Corpus(self._texts or (), self.embedder, options)
        # It has the embedder's name too: where results are kept, played or replayed, another model's are others.
        self._head = head
        name = f"{head.name}-{digest(self.embedder.dump_state())[:8]}"
        self._retriever = Retriever(name, provider=self._provider, k=head.k, cache=cache, num_retries=0)

    @property
    def corpus(self) -> list[str]:
        """The texts, by their indices; those of a saved index are read when they are first looked at."""
        if self._texts is None:
            self._texts = current_app().bridge.run(self._provider.texts())
        return self._texts

    async def prepare(self) -> Self:
        """Embed the corpus now. Raises ConfigurationError where dspex-vectors is missing, and what embedding raises."""
        await self._provider.ready()
        return self

    async def aforward(self, query: str, k: int | None = None) -> Prediction:
        """The best texts, and where they stand in the corpus."""
        found = await self._found(query, k)
        return Prediction(passages=[one.text for one in found], indices=[int(one.id) for one in found])

    async def _found(self, query: str, k: int | None) -> list[Passage]:
        tape = SCOPE.get().tape
        if tape is None or not tape.is_replay:
            # Before the call, whose time would be too short for a corpus; what is played needs none.
            await self._provider.ready()
        return await self._retriever.acall(query, k)

    # On disk

    def save(self, path: str | os.PathLike[str]) -> None:  # type: ignore[override]  # a folder of vectors, as DSPy's
        """Write the index and `config.json` to a folder, so that it need not be embedded again. Raises RetrieverError."""
        current_app().bridge.run(self.asave(path))

    async def asave(self, path: str | os.PathLike[str]) -> None:
        """As `save`."""
        provider = await self._provider.ready()
        folder = Path(path)
        await provider.save(str(folder))
        _write(folder / HEAD, msgspec.json.format(msgspec.json.encode(self._head)))

    def load(self, path: str | os.PathLike[str], embedder: Any = None) -> Self:  # type: ignore[override]  # as above
        """Take what `save`, or DSPy's, has written, with the embedder for queries.

        Raises FileNotFoundError (a RetrieverError) where there is nothing, RetrieverError for what cannot be used.
        """
        folder = Path(path)
        head = _read(folder / HEAD)
        self._texts = None
        self._set(embedder or self.embedder, head, cache=False, path=str(folder))
        return self

    @classmethod
    def from_saved(cls, path: str | os.PathLike[str], embedder: Embedder | str | Callable[..., Any]) -> Self:
        """One that `save` has written. Raises as `load`."""
        made = cls.__new__(cls)
        Module.__init__(made)
        return made.load(path, embedder)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # As an LM: a handle on an index, not state.
        return self

    def _traits(self) -> Mapping[str, Any]:
        return {"index": self._retriever.name, "k": self.k}


class EmbeddingsWithScores(Embeddings):
    """As Embeddings, with the `scores` of the passages: cosines, where vectors are normalised."""

    async def aforward(self, query: str, k: int | None = None) -> Prediction:
        """The best texts, where they stand in the corpus, and their scores."""
        found = await self._found(query, k)
        return Prediction(
            passages=[one.text for one in found],
            indices=[int(one.id) for one in found],
            scores=[one.score for one in found],
        )


def _checked(corpus: Any) -> list[str]:
    if isinstance(corpus, str):
        raise InputError("Embeddings takes a list of texts, not one.")
    texts = list(corpus)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"Embeddings takes a list of texts; item {place} is {text!r:.60}.")
    return texts


def _read(path: Path) -> Head:
    try:
        content = path.read_bytes()
        head = msgspec.json.decode(content, type=Head)
        # DSPy's file holds the corpus itself.
        name = head.name or f"embeddings-{hashlib.blake2b(content, digest_size=16).hexdigest()}"
        return msgspec.structs.replace(head, name=name)
    except FileNotFoundError as error:
        raise SavedIndexMissing(f"There is no saved index at {path.parent}: {path.name} is missing.") from error
    except (OSError, msgspec.DecodeError) as error:
        raise RetrieverError(f"The index at {path.parent} cannot be used: {path.name}: {error}.") from error


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except ProgramFileError as error:
        raise RetrieverError(str(error)) from error
