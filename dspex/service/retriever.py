"""Retrieval as a service: middleware > recorder > cache > single-flight > attempts; an LM's onion without an adapter."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from dspex.core.endpoint import Endpoint
from dspex.core.errors import LMError, ProtocolError, RetrieverError
from dspex.core.identity import canonical
from dspex.core.messages import Passage, RetrieverRequest
from dspex.core.usage import Usage
from dspex.runtime.scope import SCOPE
from dspex.service.attempts import Attempts
from dspex.service.cache import CacheService
from dspex.service.call import Call, Options, Shared
from dspex.service.calls import Ask, Calls
from dspex.service.ledger import NOTHING
from dspex.service.middleware import Wrapped
from dspex.service.reported import reported

if TYPE_CHECKING:
    from dspex.plugin.contracts import RetrieverProvider

Passages = list[Passage]
Found = list[Passages]  # a list a query

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Passages)


class RetrieverService:
    """One retriever; `embedder` is the identity of that which it was made with, if any."""

    def __init__(
        self,
        endpoint: Endpoint,
        provider: "RetrieverProvider",
        shared: Shared,
        attempts: Attempts,
        embedder: Any = None,
    ) -> None:
        self.endpoint = endpoint
        self.provider = provider
        self.attempts = attempts
        self.name = endpoint.provider
        self._shared = shared
        self._calls: Calls[Found] = Calls(endpoint.provider, provider, attempts)
        self.ready, self.forked, self.aclose = self._calls.ready, self._calls.forked, self._calls.aclose
        base_url = getattr(provider, "base_url", None) or endpoint.base_url
        self._key_prefix = canonical(["retrieval", endpoint.provider, base_url, dict(endpoint.options), embedder])

    async def retrieve(self, request: RetrieverRequest, options: Options) -> Passages:
        """The best passages, best first. Raises RetrieverError, PluginError or BudgetExceeded."""
        call = self.attempts.begin(options)
        answer = self._answer if call.scope.recorder is None else self._recorded
        chain: Callable[[RetrieverRequest], Awaitable[Passages]] = partial(answer, call)
        for middleware in reversed(self._shared.middleware()):
            step = getattr(middleware, "retrieve", None)
            if step is not None:
                chain = Wrapped(step, chain, list)
        try:
            return await reported(self._shared, self.endpoint, call, partial(chain, request), _usage)
        except LMError as error:
            raise RetrieverError(f"The retriever {self.name!r} failed: {error}") from error

    async def _recorded(self, call: Call, request: RetrieverRequest) -> Passages:
        recorder = call.scope.recorder
        assert recorder is not None
        asked = self._key_prefix + _encoder.encode(request)
        return _decoder.decode(await recorder.record_bytes(asked, _Recorded(self, call, request)))

    async def _answer(self, call: Call, request: RetrieverRequest) -> Passages:
        if call.scope.tape is None:
            return await self._live(call, request)
        from dspex.service.taped import asked_bytes, taped_bytes

        asked = asked_bytes("retrieve", self.endpoint, _encoder.encode(request), request)
        budgets = call.scope.budgets + self._shared.ceilings()
        data = await taped_bytes(asked, self.name, _Untaped(self, call, request), budgets, lambda *_: NOTHING)
        return _decoder.decode(data)

    async def _live(self, call: Call, request: RetrieverRequest) -> Passages:
        return (await self._found(call, [request]))[0]

    # Several queries at a time

    async def retrieve_all(self, requests: Sequence[RetrieverRequest], options: Options) -> Found:
        """As `retrieve`, for requests that differ in their queries only: one call where the provider takes them so.

        Where a middleware, a run's journal or a tape hears of each search, each is a call of its own.
        """
        scope = SCOPE.get()
        watched = scope.recorder is not None or scope.tape is not None
        alone = watched or any(hasattr(one, "retrieve") for one in self._shared.middleware())
        if alone or len(requests) < 2 or not hasattr(self.provider, "search"):
            return await self._one_by_one(requests, options)
        call = self.attempts.begin(options)
        try:
            return await reported(self._shared, self.endpoint, call, partial(self._found, call, requests), _usage)
        except LMError as error:
            raise RetrieverError(f"The retriever {self.name!r} failed: {error}") from error

    async def _one_by_one(self, requests: Sequence[RetrieverRequest], options: Options) -> Found:
        # A group cancels the others when one fails; its error goes out as it is.
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.retrieve(request, options)) for request in requests]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    # Below all that: cache > single-flight > attempts

    async def _found(self, call: Call, requests: Sequence[RetrieverRequest]) -> Found:
        cache = self._shared.cache() if call.options.cache else None
        keys = [self._key(request) for request in requests]
        kept = [None if cache is None else await cache.load(key, _decoder.decode) for key in keys]
        missing = [place for place, passages in enumerate(kept) if passages is None]
        call.cached = not missing
        if missing:
            wanted = [keys[place] for place in missing]
            ask = Ask(
                partial(self._retrieved, [requests[place] for place in missing]),
                bound=lambda needs_price: NOTHING,  # noqa: ARG005  a search costs no tokens
                spent=lambda found: NOTHING,  # noqa: ARG005  as above
                key=b"".join(wanted) if call.options.cache else None,
                keep=partial(_keep, cache, wanted),
            )
            for place, passages in zip(missing, await self._calls.make(call, ask), strict=True):
                kept[place] = passages
        return [passages or [] for passages in kept]

    def _key(self, request: RetrieverRequest) -> bytes:
        return hashlib.blake2b(self._key_prefix + _encoder.encode(request), digest_size=16).digest()

    async def _retrieved(self, requests: Sequence[RetrieverRequest]) -> Found:
        first, provider = requests[0], self.provider
        search = getattr(provider, "search", None)
        if search is None and first.where:
            raise RetrieverError(f"The retriever {self.name!r} cannot narrow a search by metadata (where=).")
        if search is None or (len(requests) == 1 and not first.where):
            given: Any = [await provider.retrieve(first.query, first.k)]
        else:
            given = await search([request.query for request in requests], first.k, first.where)
        return self._checked(given, len(requests), first.k)

    def _checked(self, given: Any, count: int, k: int) -> Found:
        if not isinstance(given, list) or len(given) != count:
            raise ProtocolError(
                f"It gave {given!r:.80}, not a list for each of {count} queries.", model=self.name, retryable=False
            )
        for passages in given:
            if not isinstance(passages, list) or not all(isinstance(passage, Passage) for passage in passages):
                raise ProtocolError(
                    f"It gave {passages!r:.80}, which is no list of Passages.", model=self.name, retryable=False
                )
        return [passages[:k] for passages in given]


class _Recorded:
    """The way to passages below a recorder; `call` tells it what left the process."""

    def __init__(self, service: RetrieverService, call: Call, request: RetrieverRequest) -> None:
        self.call = call
        self._service = service
        self._request = request

    async def __call__(self) -> tuple[bytes, Usage]:
        return _encoder.encode(await self._service._answer(self.call, self._request)), Usage()


class _Untaped(_Recorded):
    """The same way, below a tape."""

    async def __call__(self) -> tuple[bytes, Usage]:
        return _encoder.encode(await self._service._live(self.call, self._request)), Usage()


def _usage(_: object) -> None:
    """A search has no usage."""


async def _keep(cache: CacheService | None, keys: Sequence[bytes], found: Found) -> None:
    if cache is not None:
        for key, passages in zip(keys, found, strict=True):
            await cache.store(key, _encoder.encode(passages))
