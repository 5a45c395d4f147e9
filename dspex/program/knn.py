"""KNN: the examples most like the inputs at hand."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from dspex.app.app import current_app
from dspex.app.embedder import Embedder, as_vectors
from dspex.core.errors import ConfigurationError, EvaluationError, InputError
from dspex.core.example import Example
from dspex.core.messages import Vectors
from dspex.runtime.worker_threads import in_thread
from dspex.service.flight import SingleFlight

SEPARATOR = " | "


class KNN:
    """`KNN(k, trainset, vectorizer)(**inputs)` gives the `k` examples whose inputs are nearest, nearest first.

    The vectorizer is an Embedder, the "provider/model" of one, or any function of a list of texts that gives a row a text; nearness
    is the dot product, and of equally near ones the earlier wins. The trainset's vectors are made once, at the first call; a vectorizer
    with `fitted(texts)` is fitted to the trainset before.
    """

    def __init__(self, k: int, trainset: Sequence[Example], vectorizer: str | Callable[[list[str]], Any]) -> None:
        if k < 1 or not trainset:
            raise ConfigurationError(f"KNN needs k >= 1 and at least one example, not k={k}, {len(trainset)} examples.")
        if not callable(vectorizer) and not isinstance(vectorizer, str):
            raise ConfigurationError(
                f"KNN's vectorizer is an Embedder, a provider/model or a function, not a {type(vectorizer).__name__}."
            )
        self.k = k
        self.trainset = list(trainset)
        self.embedding = Embedder(vectorizer) if isinstance(vectorizer, str) else vectorizer
        self._vectorizer: Any = self.embedding
        given = [_inputs(index, example) for index, example in enumerate(self.trainset)]
        self._names = frozenset(name for one in given for name in one)
        self._texts = [_joined(one) for one in given]
        self._matrix: Any = None
        self._flight: SingleFlight[bool] = SingleFlight()

    def __call__(self, **inputs: Any) -> list[Example]:
        """The nearest examples."""
        return current_app().bridge.run(self.acall(**inputs))

    async def acall(self, **inputs: Any) -> list[Example]:
        """As calling it."""
        if not self._names & inputs.keys():
            known = ", ".join(sorted(self._names)) or "none"
            raise InputError(
                f"None of {', '.join(inputs) or 'no inputs'} is an input of the examples, which have: {known}."
            )
        query = _joined(inputs)
        if self._matrix is None:
            await self._flight.join(b"", self._prepare)
        asked = await self._vectorized([query])
        scores = _dot(self._matrix, asked)
        nearest = sorted(range(len(scores)), key=lambda place: -scores[place])[: self.k]
        return [self.trainset[place] for place in nearest]

    async def _prepare(self) -> bool:
        fitted = getattr(self.embedding, "fitted", None)
        self._vectorizer = self.embedding if fitted is None else fitted(self._texts)
        self._matrix = _rows(await self._vectorized(self._texts))
        return True

    async def _vectorized(self, texts: list[str]) -> Vectors:
        vectorizer: Any = self._vectorizer
        acall = getattr(vectorizer, "acall", None) or (vectorizer if inspect.iscoroutinefunction(vectorizer) else None)
        given = await (in_thread(vectorizer, texts) if acall is None else acall(texts))
        vectors = as_vectors(given)
        if len(vectors) != len(texts):
            raise ConfigurationError(f"The vectorizer gave {len(vectors)} vectors for {len(texts)} texts.")
        return vectors


def _inputs(index: int, example: Example) -> Mapping[str, Any]:
    if getattr(example, "_input_keys", None) is None:
        raise EvaluationError(f"Example {index} declares no inputs: call .with_inputs(...) on {example!r:.120}")
    return dict(example.inputs())


def _joined(fields: Mapping[str, Any]) -> str:
    # The form of DSPy's vectors: those that programs have kept fit.
    return SEPARATOR.join(f"{name}: {value}" for name, value in fields.items())


def _rows(vectors: Vectors) -> Any:
    try:
        numpy = import_module("numpy")
    except ImportError:
        return [row.tolist() for row in vectors]
    return numpy.frombuffer(vectors.data, "float32").reshape(len(vectors), vectors.dim)


def _dot(matrix: Any, asked: Vectors) -> Sequence[float]:
    query = asked[0]
    if isinstance(matrix, list):
        return [sum(map(float.__mul__, row, query)) for row in matrix]
    scores: list[float] = (matrix @ import_module("numpy").frombuffer(query, "float32")).tolist()
    return scores
