"""Embeddings as a service: recorder > cache by text > texts in batches, each a logical call: single-flight > attempts."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from dspex.core.endpoint import Endpoint
from dspex.core.errors import ProtocolError
from dspex.core.identity import canonical
from dspex.core.messages import Vectors
from dspex.core.usage import Usage
from dspex.runtime.scope import SCOPE
from dspex.service.attempts import Attempts
from dspex.service.cache import CacheService
from dspex.service.call import Call, Options, Shared
from dspex.service.calls import Ask, Calls
from dspex.service.ledger import Charge
from dspex.service.reported import reported, track

if TYPE_CHECKING:
    from dspex.plugin.contracts import EmbeddingProvider

FLOAT_BYTES = 4
AT_A_TIME = 256  # texts looked up in a cache that never waits, before the loop's other tasks have a turn


class EmbeddingService:
    """One embedding model behind one endpoint; `is_local` says that it costs nothing, and takes one batch at a time."""

    def __init__(
        self,
        endpoint: Endpoint,
        provider: "EmbeddingProvider",
        shared: Shared,
        attempts: Attempts,
        is_local: bool = False,
    ) -> None:
        self.endpoint = endpoint
        self.provider = provider
        self.attempts = attempts
        self.name = attempts.name
        self.base_url: str | None = getattr(provider, "base_url", None) or endpoint.base_url
        self._shared = shared
        self._is_local = is_local
        self._calls: Calls[Vectors] = Calls(endpoint.provider, provider, attempts)
        self.forked, self.aclose = self._calls.forked, self._calls.aclose
        self._key_prefix = canonical(["embedding", *self.identity.values()])

    @property
    def identity(self) -> Mapping[str, Any]:
        """What tells its vectors from those of another."""
        endpoint = self.endpoint
        return {
            "provider": endpoint.provider,
            "base_url": self.base_url,
            "model": endpoint.model,
            "options": dict(endpoint.options),
        }

    async def embed(self, texts: Sequence[str], options: Options, batch_size: int) -> Vectors:
        """One row a text; equal texts are asked for once. Raises LMError classes, PluginError or BudgetExceeded."""
        scope = SCOPE.get()
        if scope.recorder is None and scope.tape is None:
            return await self._embed(texts, options, batch_size, [])
        proceed = _Recorded(self, texts, options, batch_size)
        if scope.recorder is None:
            return _decoder.decode((await proceed())[0])
        request = canonical([self._key_prefix.hex(), list(texts)])
        return _decoder.decode(await scope.recorder.record_bytes(request, proceed))

    async def _taped(self, texts: Sequence[str], proceed: "_Untaped") -> bytes:
        from dspex.service.taped import asked_bytes, taped_bytes

        def charge(paid: Usage, attempts: int) -> Charge:
            return msgspec.structs.replace(self._charge(paid, False), calls=attempts)

        asked = asked_bytes("embed", self.endpoint, canonical(list(texts)), list(texts))
        budgets = SCOPE.get().budgets + self._shared.ceilings()
        return await taped_bytes(asked, self.name, proceed, budgets, charge)

    async def _embed(self, texts: Sequence[str], options: Options, batch_size: int, calls: list[Call]) -> Vectors:
        different = list(dict.fromkeys(texts))
        rows = await self._kept(different) if options.cache else {}
        missing = [text for text in different if text not in rows]
        batches = [missing[start : start + batch_size] for start in range(0, len(missing), batch_size)]
        calls += [self.attempts.begin(options) for _ in batches]
        for batch, vectors in zip(batches, await self._all(batches, calls), strict=True):
            rows.update((text, vectors[place].tobytes()) for place, text in enumerate(batch))
        lengths = {len(row) for row in rows.values()}
        if len(lengths) > 1:
            sizes = ", ".join(str(size // FLOAT_BYTES) for size in sorted(lengths))
            raise ProtocolError(
                f"The vectors have {sizes} values: the model has changed under its name. dspex.cache.clear() forgets the old ones.",
                model=self.name,
                retryable=False,
            )
        return Vectors(bytearray().join(rows[text] for text in texts), lengths.pop() // FLOAT_BYTES if lengths else 0)

    async def _all(self, batches: Sequence[list[str]], calls: Sequence[Call]) -> list[Vectors]:
        pairs = list(zip(batches, calls, strict=True))
        if self._is_local or len(batches) < 2:
            return [await self._batch(batch, call) for batch, call in pairs]
        # A group cancels the others when one fails; its error goes out as it is.
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._batch(batch, call)) for batch, call in pairs]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    # One batch, outside in

    async def _batch(self, texts: list[str], call: Call) -> Vectors:
        options = call.options
        ask = Ask(
            partial(self._embedded, texts),
            bound=lambda needs_price: self._charge(Usage(_tokens(texts)), needs_price),
            spent=lambda vectors: self._charge(vectors.usage or Usage(), False),
            key=b"".join(map(self._key, texts)) if options.cache else None,
            keep=partial(self._keep, texts, self._shared.cache() if options.cache else None),
        )
        work = partial(self._calls.make, call, ask)
        vectors = await reported(self._shared, self.endpoint, call, work, lambda vectors: vectors.usage)
        track(call, self.name, vectors.usage)
        return vectors

    async def _embedded(self, texts: list[str]) -> Vectors:
        given: Any = await self.provider.embed(list(texts))
        if not isinstance(given, Vectors):
            kind = type(given).__name__
            raise ProtocolError(f"The provider gave a {kind}, not Vectors.", model=self.name, retryable=False)
        values = memoryview(given.data).nbytes / FLOAT_BYTES
        if given.dim < 1 or values != len(texts) * given.dim:
            raise ProtocolError(
                f"{len(texts)} texts have {values:g} values in rows of {given.dim}.", model=self.name, retryable=False
            )
        if given.usage is None:
            tokens = 0 if self._is_local else _tokens(texts)
            return msgspec.structs.replace(given, usage=Usage(tokens, estimated=True))
        return given

    def charged(self, texts: Sequence[str], batch_size: int) -> Usage:
        """What a run is charged for these texts; it follows from them alone, whatever the cache holds."""
        different = list(dict.fromkeys(texts))
        charge = self._charge(Usage(0 if self._is_local else _tokens(different)), False)
        calls = -(-len(different) // batch_size)
        return Usage(charge.tokens, calls=calls, usd=charge.usd or None, estimated=True)

    def _charge(self, usage: Usage, needs_price: bool) -> Charge:
        if self._is_local:
            return Charge(1)
        usd = usage.usd
        if usd is None:
            usd = self._shared.prices.of(self.name, usage, needs_price)
        return Charge(1, usage.input_tokens, usd)

    # The cache, by text

    async def _kept(self, texts: Sequence[str]) -> dict[str, bytes]:
        cache = self._shared.cache()
        if cache is None:
            return {}
        rows = {}
        for place, text in enumerate(texts, 1):
            row = await cache.load(self._key(text), _row)
            if row is not None:
                rows[text] = row
            if place % AT_A_TIME == 0:
                await asyncio.sleep(0)
        return rows

    async def _keep(self, texts: Sequence[str], cache: CacheService | None, vectors: Vectors) -> None:
        if cache is not None:
            for place, text in enumerate(texts):
                await cache.store(self._key(text), vectors[place].tobytes())

    def _key(self, text: str) -> bytes:
        return hashlib.blake2b(self._key_prefix + text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class _Recorded:
    """The way to vectors below a recorder; `attempts` and `cached` tell it what left the process."""

    def __init__(self, service: EmbeddingService, texts: Sequence[str], options: Options, batch_size: int) -> None:
        self._service = service
        self._asked = (texts, options, batch_size)
        self._calls: list[Call] = []
        self.call = self

    @property
    def attempts(self) -> int:
        return sum(call.attempts for call in self._calls)

    @property
    def cached(self) -> bool:
        return all(call.cached for call in self._calls)

    async def __call__(self) -> tuple[bytes, Usage]:
        texts, _, batch_size = self._asked
        data = await (self._live() if SCOPE.get().tape is None else self._service._taped(texts, _Untaped(self)))
        return data, self._service.charged(texts, batch_size)

    async def _live(self) -> bytes:
        return _encoder.encode(await self._service._embed(*self._asked, self._calls))


class _Untaped:
    """The same way, below a tape."""

    def __init__(self, recorded: _Recorded) -> None:
        self.call = recorded
        self._recorded = recorded

    async def __call__(self) -> tuple[bytes, Usage]:
        return await self._recorded._live(), Usage()


_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Vectors)


def _row(value: bytes) -> bytes:
    if not value or len(value) % FLOAT_BYTES:
        raise ValueError(f"{len(value)} bytes are no row of floats")
    return value


def _tokens(texts: Sequence[str]) -> int:
    # A high guess, as for prompts.
    return sum(1 + len(text.encode("utf-8", "replace")) // 3 for text in texts)
