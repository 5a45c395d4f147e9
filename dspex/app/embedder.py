"""Embedder: the user's handle on an embedding model, a plugin's or a function of the user's own."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from importlib import import_module
from typing import Any, Self

import msgspec

from dspex.app.app import App, current_app
from dspex.app.endpoints import Connection, terms
from dspex.app.services import endpoint_identity
from dspex.core.errors import ConfigurationError, InputError, ProtocolError
from dspex.core.messages import Vectors
from dspex.core.secret import Secret
from dspex.runtime.scope import SCOPE
from dspex.runtime.worker_threads import in_thread
from dspex.service.breaker import BreakerPolicy
from dspex.service.call import Options, attempts_of
from dspex.service.embedder import EmbeddingService
from dspex.service.retry import Retrying

CALLABLE = "callable"


class Embedder:
    """Texts to vectors: `"provider/model"`, where the provider is an installed plugin, or a function of a list of texts.

    A function may be async; its keywords are `**kwargs`, and its batches go one after the other. Its vectors are cached
    only where `cache_key` says what they depend on. `timeout` bounds each batch in seconds (None: 120 s from its first
    permit); retry, limits and breaker are those of an LM, and calls count in budgets and usage as an LM's do.
    """

    def __init__(
        self,
        model: str | Callable[..., Any],
        batch_size: int = 200,
        caching: bool = True,
        *,
        cache_key: str | None = None,
        api_key: str | Secret | None = None,
        api_base: str | None = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        num_retries: int = 3,
        retry: Retrying | None = None,
        max_in_flight: int | None = None,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        adaptive: bool = False,
        breaker: BreakerPolicy | bool = True,
        **kwargs: Any,
    ) -> None:
        if isinstance(model, str) and "/" not in model:
            whole = f"openai/{model or 'text-embedding-3-small'}"
            raise ConfigurationError(f"Embedder({model!r}): name the provider too, as in Embedder({whole!r}).")
        if not isinstance(model, str) and not callable(model):
            raise ConfigurationError(
                f"Embedder takes 'provider/model' or a function of a list of texts, not {model!r:.80}."
            )
        _check_batch(batch_size)
        self.model = model
        self.batch_size = batch_size
        self.caching = caching
        self.cache_key = cache_key
        self.kwargs = kwargs
        self.timeout = timeout
        self.num_retries = num_retries
        self.retry = retry
        self._call_options(caching)  # a slip is told here, and not at the first call
        self._terms = terms(
            max_in_flight=max_in_flight,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            adaptive=adaptive,
            breaker=breaker,
        )
        self._connection = Connection.of(api_key, api_base, base_url, headers)
        self._function = None if isinstance(model, str) else _Function(model, kwargs)
        self._bound: tuple[Any, EmbeddingService] | None = None

    def __call__(
        self, inputs: str | Sequence[str], batch_size: int | None = None, caching: bool | None = None, **kwargs: Any
    ) -> Any:
        """A vector for a text, rows for a list of texts: numpy float32 arrays where numpy is installed.

        Without numpy a memoryview of floats for a text, `Vectors` for a list. `kwargs` go before the handle's own.
        Raises LMError classes, InputError, PluginError, BudgetExceeded.
        """
        return current_app().bridge.run(self.acall(inputs, batch_size, caching, **kwargs))

    async def acall(
        self, inputs: str | Sequence[str], batch_size: int | None = None, caching: bool | None = None, **kwargs: Any
    ) -> Any:
        """As calling it."""
        if kwargs:
            return await self._with(kwargs).acall(inputs, batch_size, caching)
        single = isinstance(inputs, str)
        vectors = await self._embedded([inputs] if isinstance(inputs, str) else list(inputs), batch_size, caching)
        rows: Any = as_array(vectors)
        return rows[0] if single else rows

    def _with(self, kwargs: Mapping[str, Any]) -> Self:
        """The handle for calls with other keywords."""
        twin = copy(self)
        twin.kwargs = {**self.kwargs, **kwargs}
        if self._function is not None:
            twin._function = _Function(self.model, twin.kwargs)  # type: ignore[arg-type]  # a function it is
            twin.cache_key = self.cache_key and f"{self.cache_key} {sorted(kwargs.items())!r}"
        return twin

    def _call_options(self, cache: bool) -> Options:
        return Options(self.timeout, attempts_of(self.num_retries), cache, self.retry)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors as an EmbeddingProvider gives them, so that a retriever's plugin can use an Embedder as one."""
        return await self._embedded(list(texts), None, None)

    async def _embedded(self, texts: list[str], batch_size: int | None, caching: bool | None) -> Vectors:
        for place, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"An Embedder takes a text or a list of texts; item {place} is {text!r:.60}.")
        cache = (self.caching if caching is None else caching) and (self._function is None or bool(self.cache_key))
        options = self._call_options(cache)
        size = self.batch_size if batch_size is None else batch_size
        _check_batch(size)
        return await self.service.embed(texts, options, size)

    @property
    def service(self) -> EmbeddingService:
        """The current App's service for this model. Raises ConfigurationError if no plugin offers the provider."""
        tape = SCOPE.get().tape
        owner = tape if tape is not None and tape.is_replay else current_app()
        bound = self._bound
        if bound is None or bound[0] is not owner:
            service = self._played() if owner is tape else self._service(owner)
            bound = self._bound = (owner, service)
        return bound[1]

    def _played(self) -> EmbeddingService:
        from dspex.app.played import played_embedder

        function = self._function
        provider, model = self._label().split("/", 1) if function is None else (CALLABLE, self._label())
        endpoint = self._connection.bare(provider, model)
        options = self.kwargs if function is None else {}
        return played_embedder(msgspec.structs.replace(endpoint, options=options), function is not None)

    def _service(self, app: App) -> EmbeddingService:
        function = self._function
        if isinstance(self.model, str):
            endpoint = self._connection.strict_endpoint(app, "embedders", self.model, self.kwargs, repr(self))
        else:
            endpoint = self._connection.bare(CALLABLE, self.cache_key or _name(self.model))

        def make() -> EmbeddingService:
            attempts = app.attempts(endpoint, self._terms)
            provider = function or app.provider("embedders", endpoint, repr(self), attempts)
            return EmbeddingService(endpoint, provider, app.shared, attempts, is_local=function is not None)

        # By id: the service keeps the function alive for as long as the key stands there.
        own = (id(self.model), repr(sorted(self.kwargs.items()))) if function else None
        return app.service((EmbeddingService, endpoint_identity(endpoint), own, self._terms), make)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells its vectors from another's: endpoint and options, or a function's `cache_key`, else its name."""
        return dict(self.service.identity)

    def dump_state(self) -> dict[str, Any]:
        """What a saved program keeps of it: no key, header, endpoint or function."""
        kept = {"model": self._label(), "batch_size": self.batch_size, "caching": self.caching}
        plain = {word: value for word, value in self.kwargs.items() if isinstance(value, (str, int, float, bool))}
        return {**kept, **plain} if self._function is None else kept

    def _label(self) -> str:
        return self.model if isinstance(self.model, str) else self.cache_key or _name(self.model)

    def __getstate__(self) -> dict[str, Any]:
        # As an LM: what it is bound to is of this process.
        return {**self.__dict__, "_bound": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # As an LM: a handle on a service, not state.
        return self

    def __repr__(self) -> str:
        return f"dspex.Embedder({self._label()!r})"


class _Function:
    """The EmbeddingProvider that a function is."""

    def __init__(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        self._function = function
        self._arguments = arguments

    async def embed(self, texts: list[str]) -> Vectors:
        """The function's vectors; sync code runs in a thread."""
        if inspect.iscoroutinefunction(self._function):
            return as_vectors(await self._function(texts, **self._arguments))
        given = await in_thread(self._in_thread, texts)
        return as_vectors(await given) if inspect.isawaitable(given) else given

    def _in_thread(self, texts: list[str]) -> Any:
        given = self._function(texts, **self._arguments)
        return given if inspect.isawaitable(given) else as_vectors(given)


def _check_batch(size: Any) -> None:
    if not isinstance(size, int) or size < 1:
        raise ConfigurationError(f"batch_size={size!r}: a batch has at least one text.")


def as_vectors(given: Any) -> Vectors:
    """Rows in any usual form: Vectors, an array of two dimensions, a list of lists. Raises ProtocolError."""
    if isinstance(given, Vectors):
        return given
    if hasattr(given, "astype") and len(given.shape) == 2:
        return Vectors(given.astype("float32", order="C"), int(given.shape[1]))
    rows = given.tolist() if hasattr(given, "tolist") else given
    try:
        return Vectors.of(rows)
    except (TypeError, OverflowError) as error:
        raise ProtocolError(
            f"The function gave no row of numbers for each text, but {given!r:.80}.", retryable=False
        ) from error


def as_array(vectors: Vectors) -> Any:
    """A numpy float32 array of two dimensions where numpy is installed, else the Vectors."""
    try:
        numpy = import_module("numpy")
    except ImportError:
        return vectors
    return numpy.frombuffer(vectors.data, "float32").reshape(len(vectors), vectors.dim)


def _name(function: Any) -> str:
    kind = function if hasattr(function, "__qualname__") else type(function)
    return f"{kind.__module__}.{kind.__qualname__}"
