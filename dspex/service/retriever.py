"""Retrieval as a service: middleware > recorder > cache > single-flight > attempts; an LM's onion without an adapter."""

import hashlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from dspex.core.endpoint import Endpoint
from dspex.core.errors import LMError, ProtocolError, RetrieverError
from dspex.core.identity import canonical
from dspex.core.messages import Passage, RetrieverRequest
from dspex.core.usage import Usage
from dspex.service.attempts import Attempts
from dspex.service.cache import CacheService
from dspex.service.call import Call, Options, Shared
from dspex.service.calls import Ask, Calls
from dspex.service.ledger import Charge
from dspex.service.middleware import Wrapped
from dspex.service.reported import reported

if TYPE_CHECKING:
    from dspex.plugin.contracts import RetrieverProvider

Passages = list[Passage]

FREE = Charge()
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
        self._calls: Calls[Passages] = Calls(endpoint.provider, provider, attempts)
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
        data = await taped_bytes(asked, self.name, _Untaped(self, call, request), budgets, lambda *_: FREE)
        return _decoder.decode(data)

    async def _live(self, call: Call, request: RetrieverRequest) -> Passages:
        cache = self._shared.cache() if call.options.cache else None
        key = hashlib.blake2b(self._key_prefix + _encoder.encode(request), digest_size=16).digest()
        if cache is not None:
            found = await cache.load(key, _decoder.decode)
            if found is not None:
                call.cached = True
                return found
        ask = Ask(
            partial(self._retrieved, request),
            bound=lambda needs_price: FREE,  # noqa: ARG005  a search costs no tokens
            spent=lambda passages: FREE,  # noqa: ARG005  as above
            key=key if call.options.cache else None,
            keep=partial(_keep, cache, key),
        )
        return await self._calls.make(call, ask)

    async def _retrieved(self, request: RetrieverRequest) -> Passages:
        given: Any = await self.provider.retrieve(request.query, request.k)
        if not isinstance(given, list) or not all(isinstance(passage, Passage) for passage in given):
            raise ProtocolError(
                f"It gave {given!r:.80}, which is no list of Passages.", model=self.name, retryable=False
            )
        return given[: request.k]


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


def _usage(_: Passages) -> None:
    """A search has no usage."""


async def _keep(cache: CacheService | None, key: bytes, passages: Passages) -> None:
    if cache is not None:
        await cache.store(key, _encoder.encode(passages))
