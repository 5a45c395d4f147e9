"""Retriever: the user's handle on a retriever, a plugin's or an object of the user's own."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from operator import index
from typing import Any, Self, overload

import msgspec

from dspex.app.app import App, current_app
from dspex.app.embedder import Embedder
from dspex.app.endpoints import Connection, terms
from dspex.app.passages import check_text, checked_ids, checked_passage
from dspex.app.services import endpoint_identity
from dspex.core.errors import ConfigurationError, DspexError, InputError, LMError, RetrieverError
from dspex.core.messages import Passage, RetrieverRequest
from dspex.core.secret import Secret
from dspex.core.where import Where, conditions
from dspex.runtime.callbacks import Emission
from dspex.runtime.scope import SCOPE
from dspex.service.breaker import BreakerPolicy
from dspex.service.call import Options, attempts_of
from dspex.service.retriever import RetrieverService
from dspex.service.retry import Retrying

MOST = (1 << 31) - 1  # of passages that engines can be asked for


class Retriever:
    """Passages for a query: `Retriever("NAME", **options)`, where NAME is offered by an installed plugin.

    `embedder` is an Embedder, or what makes one, for retrievers that need vectors. `k` passages are given where a call
    does not say how many. `cache=True` keeps results by query and k: only for an index that does not change. `timeout`
    covers a whole call in seconds (None: 120 s from the first permit, for a change of the index no bound); retry, limits and breaker are those of an LM.
    `provider=` takes a RetrieverProvider object instead of a plugin's.
    """

    def __init__(
        self,
        name: str,
        *,
        k: int = 3,
        embedder: Embedder | str | Callable[..., Any] | None = None,
        cache: bool = False,
        callbacks: Sequence[Any] | None = None,
        num_retries: int = 3,
        provider: Any = None,
        api_key: str | Secret | None = None,
        api_base: str | None = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        retry: Retrying | None = None,
        max_in_flight: int | None = None,
        requests_per_minute: float | None = None,
        adaptive: bool = False,
        breaker: BreakerPolicy | bool = True,
        **options: Any,
    ) -> None:
        self.name = name
        self.k = _checked_k(k)
        self.embedder = embedder if embedder is None or isinstance(embedder, Embedder) else Embedder(embedder)
        self.callbacks = list(callbacks or ())
        self.options = options
        self._terms = terms(
            max_in_flight=max_in_flight,
            requests_per_minute=requests_per_minute,
            adaptive=adaptive,
            breaker=breaker,
        )
        self._provider = provider
        self._connection = Connection.of(api_key, api_base, base_url, headers)
        self._call_options = Options(timeout, attempts_of(num_retries), cache, retry)
        self._bound: tuple[Any, RetrieverService] | None = None

    @overload
    def __call__(self, query: str, k: int | None = None, *, where: Where = None) -> list[Passage]: ...

    @overload
    def __call__(
        self, query: list[str] | tuple[str, ...], k: int | None = None, *, where: Where = None
    ) -> list[list[Passage]]: ...

    def __call__(self, query: str | list[str] | tuple[str, ...], k: int | None = None, *, where: Any = None) -> Any:
        """The `k` best passages, best first; for a list of queries a list each.

        `where` narrows the search by metadata, where the retriever can: `{"lang": "en", "tag": ["a", "b"], "year": {"gte":
        2000}}`, all of which must hold. Raises RetrieverError, InputError, PluginError.
        """
        return current_app().bridge.run(self.acall(query, k, where=where))

    @overload
    async def acall(self, query: str, k: int | None = None, *, where: Where = None) -> list[Passage]: ...

    @overload
    async def acall(
        self, query: list[str] | tuple[str, ...], k: int | None = None, *, where: Where = None
    ) -> list[list[Passage]]: ...

    async def acall(self, query: str | list[str] | tuple[str, ...], k: int | None = None, *, where: Any = None) -> Any:
        """As calling it."""
        queries = _checked_queries(query)
        narrowed = conditions(where)
        many = self.k if k is None else _checked_k(k)
        requests = [RetrieverRequest(self.name, one, many, narrowed) for one in queries]
        asked = requests[0] if isinstance(query, str) else requests
        callbacks = [*current_app().settings.callbacks, *self.callbacks]
        if not callbacks:
            return await self._asked(asked)
        told = {"query": query, "k": many, **({"where": where} if narrowed else {})}
        async with Emission(callbacks, "retriever", self, told) as emission:
            emission.outputs = await self._asked(asked)
        return emission.outputs

    async def _asked(self, asked: RetrieverRequest | list[RetrieverRequest]) -> Any:
        if isinstance(asked, list):
            return await self.service.retrieve_all(asked, self._call_options)
        return await self.service.retrieve(asked, self._call_options)

    # The index, where the plugin lets it be changed

    def add(self, passages: Sequence[Passage | str]) -> list[str]:
        """Put passages into the index; their ids. Raises RetrieverError where the retriever cannot.

        One whose id is there already replaces it. Without an id, a passage gets one of its text and metadata.
        """
        return current_app().bridge.run(self.aadd(passages))

    async def aadd(self, passages: Sequence[Passage | str]) -> list[str]:
        """As `add`."""
        if isinstance(passages, (str, Passage)):
            raise InputError("add takes a list of passages.")
        whole = [checked_passage(place, item) for place, item in enumerate(passages)]
        await self._changed("add", whole)
        return [passage.id for passage in whole]

    def delete(self, ids: Sequence[str]) -> None:
        """Take passages out of the index, by id. Raises RetrieverError where the retriever cannot."""
        current_app().bridge.run(self.adelete(ids))

    async def adelete(self, ids: Sequence[str]) -> None:
        """As `delete`."""
        await self._changed("delete", checked_ids(ids))

    def save(self, path: str) -> None:
        """Write the index to a file or folder. Raises RetrieverError where the retriever cannot."""
        current_app().bridge.run(self.asave(path))

    async def asave(self, path: str) -> None:
        """As `save`."""
        await self._changed("save", str(path))

    async def _changed(self, what: str, argument: Any) -> None:
        service = self.service
        method: Callable[[Any], Awaitable[None]] | None = getattr(service.provider, what, None)
        if method is None:
            raise RetrieverError(f"The retriever {self.name!r} offers no `{what}`.")
        work: Callable[[], Awaitable[None]] = partial(method, argument)
        deadline = SCOPE.get().deadline
        limit = asyncio.timeout(self._call_options.timeout)
        if deadline is not None:
            work = partial(deadline.bound, work)
        try:
            async with limit:
                await service.ready()
                await work()
        except LMError as error:
            raise RetrieverError(f"The retriever {self.name!r} failed at `{what}`: {error}") from error
        except DspexError:
            raise
        except Exception as error:  # the provider is a plugin
            said = f"failed at `{what}`: {type(error).__name__}: {error}"
            if limit.expired():
                said = f"did not end `{what}` within {self._call_options.timeout:g} s."
            raise RetrieverError(f"The retriever {self.name!r} {said}") from error

    # What is behind it

    @property
    def service(self) -> RetrieverService:
        """The current App's service for this retriever. Raises ConfigurationError if no plugin offers it."""
        tape = SCOPE.get().tape
        owner = tape if tape is not None and tape.is_replay else current_app()
        bound = self._bound
        if bound is None or bound[0] is not owner:
            service = self._played() if owner is tape else self._service(owner)
            bound = self._bound = (owner, service)
        return bound[1]

    def _played(self) -> RetrieverService:
        from dspex.app.played import played_retriever

        endpoint = self._connection.bare(self.name, "retriever")
        options = self.options if self._provider is None else {}
        return played_retriever(msgspec.structs.replace(endpoint, options=options))

    def _service(self, app: App) -> RetrieverService:
        name = f"{self.name}/retriever"
        if self._provider is None:
            endpoint = self._connection.strict_endpoint(app, "retrievers", name, self.options, repr(self))
        else:
            endpoint = self._connection.bare(*name.split("/", 1))
        embedder = self.embedder

        def make() -> RetrieverService:
            attempts = app.attempts(endpoint, self._terms)
            provider = self._provider or app.provider(
                "retrievers", endpoint, repr(self), attempts, lambda client: (dict(endpoint.options), client, embedder)
            )
            identity = None if embedder is None else embedder.identity
            return RetrieverService(endpoint, provider, app.shared, attempts, identity)

        # By id: the service keeps provider and embedder alive for as long as the key stands there.
        key = (RetrieverService, endpoint_identity(endpoint), id(self._provider), id(embedder), self._terms)
        return app.service(key, make)

    def __getstate__(self) -> dict[str, Any]:
        # As an LM: what it is bound to is of this process.
        return {**self.__dict__, "_bound": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # As an LM: a handle on a service, not state.
        return self

    def __repr__(self) -> str:
        return f"dspex.Retriever({self.name!r})"


def _checked_k(k: Any) -> int:
    try:
        many = index(k)
    except TypeError:
        many = 0
    if many < 1:
        raise ConfigurationError(f"k={k!r}: a search gives one passage or more.")
    return min(many, MOST)


def _checked_queries(query: Any) -> list[str]:
    texts = list(query) if isinstance(query, (list, tuple)) else [query]
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"A Retriever takes a query as text, or a list of them; item {place} is {text!r:.60}.")
        check_text(text, f"Query {place}")
    return texts
