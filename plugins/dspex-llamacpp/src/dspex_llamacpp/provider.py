"""The provider: embedded models by the contract of an LMProvider."""

import asyncio
import os
import weakref
from collections.abc import AsyncIterator, Callable

from dspex.plugin import (
    BadRequest,
    Capabilities,
    ConfigurationError,
    Endpoint,
    HttpClient,
    LMDelta,
    LMRequest,
    LMResponse,
    ProtocolError,
    Unavailable,
)
from dspex_llamacpp.catalogue import GEMMA, source_of
from dspex_llamacpp.engine import Engine
from dspex_llamacpp.library import Chunk, load_library
from dspex_llamacpp.options import read_options
from dspex_llamacpp.wire import (
    DEFAULT_MAX_TOKENS,
    MOST_LOGPROBS,
    Reply,
    Sampling,
    check_json,
    read_sampling,
    to_body,
    to_response,
)


class LlamaCppProvider:
    """One embedded model; `http` is not used.

    It is loaded by `start` or the first call, once a process: a forked child loads its own. Any number of loops and
    threads may share this object; `slots` requests are worked on at a time, the others wait in line. Raises
    ConfigurationError for a model or an option that it does not know, and for `api_base`.
    """

    def __init__(self, endpoint: Endpoint, http: HttpClient | None = None) -> None:
        if endpoint.base_url is not None:
            raise ConfigurationError(
                f"The llamacpp provider works inside this process and has no use for api_base={endpoint.base_url!r}. "
                "For a llama.cpp server that runs elsewhere use LM('openai/...', api_base=...)."
            )
        self._options = read_options(endpoint.options)
        self._source = source_of(endpoint, self._options)
        self._engines: dict[int, Engine] = {}
        # At exit too: a generation that outlived the interpreter would crash the process.
        self._closed = weakref.finalize(self, close_engine, self._engines)

    @staticmethod
    def notice() -> str:
        """What `dspex doctor` shows: the licence of the packaged model. Raises PluginError if the engine cannot be loaded."""
        load_library()
        return GEMMA.notice

    @property
    def licence(self) -> str | None:
        """What one must know about the licence of this model; None for a file of the user's."""
        return self._source.known.notice if self._source.known else None

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do; whether it takes turns may be unknown until it is loaded."""
        options, known = self._options, self._source.known
        chat = self._engine().chat
        if chat is None:
            chat = options.chat if options.chat is not None else known.chat if known else None
        return Capabilities(
            chat=True if options.chat_template is not None else chat,
            stream=True,
            n=True,
            json_schema=True,
            tools=False,
            logprobs=True,
            grammar=True,
            images=False,
            batch=False,
            prefix_slots=options.slots,
            max_concurrency=options.slots,
            max_output_tokens=DEFAULT_MAX_TOKENS,
            top_logprobs=MOST_LOGPROBS,
        )

    async def start(self) -> None:
        """Load the model. Raises ConfigurationError for its file, PluginError for a library or package that is missing."""
        await asyncio.wrap_future(self._engine().submit(lambda _engine: None))

    async def complete(self, request: LMRequest) -> LMResponse:
        """The whole reply; choices beyond the first are generated one after another from the prompt that is kept."""
        sampling = read_sampling(request)
        replies = [await self._reply(request, sampling, index) for index in range(request.n)]
        return to_response(replies, self._source.name)

    async def _reply(self, request: LMRequest, sampling: Sampling, index: int) -> Reply:
        generation = Generation(request, sampling, index)
        try:
            return await asyncio.wrap_future(self._engine().submit(generation.run))
        finally:
            generation.stop()

    async def stream(self, request: LMRequest) -> AsyncIterator[LMDelta]:
        """The reply token by token. Raises BadRequest for n above 1 and for log-probabilities, which a delta cannot hold."""
        sampling = read_sampling(request)
        for name, asked in (("n", request.n > 1), ("logprobs", sampling.logprobs)):
            if asked:
                raise BadRequest(
                    f"A stream has no {name} (capability: {name}).", model=request.model, provider="llamacpp"
                )
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[LMDelta | None] = asyncio.Queue()
        generation = Generation(request, sampling, 0, lambda delta: put(loop, arrived, delta))
        future = self._engine().submit(generation.run)
        future.add_done_callback(lambda _: put(loop, arrived, None))
        try:
            while (delta := await arrived.get()) is not None:
                yield delta
            reply = future.result()
            yield LMDelta(finish_reason=reply.finish_reason, usage=reply.usage)
        finally:
            generation.stop()
            future.cancel()

    async def aclose(self) -> None:
        """Stop what is generated and free the model; a call after this loads it again."""
        await asyncio.to_thread(close_engine, self._engines)

    def _engine(self) -> Engine:
        # By process: a forked child has neither the threads of its parent's engine nor a right to its locks.
        pid = os.getpid()
        return self._engines.get(pid) or self._engines.setdefault(pid, Engine(self._source, self._options))


class Generation:
    """One answer on its way: runs on a thread of the engine's, and ends soon after `stop` was called on any other."""

    def __init__(
        self,
        request: LMRequest,
        sampling: Sampling,
        index: int,
        on_delta: Callable[[LMDelta], None] | None = None,
    ) -> None:
        self._request = request
        self._sampling = sampling
        self._index = index
        self._on_delta = on_delta
        self._stopped = False
        self._fault: Exception | None = None
        self._reply = Reply()

    def stop(self) -> None:
        """End at the next token, or the next batch of the prompt."""
        self._stopped = True

    def run(self, engine: Engine) -> Reply:
        """The whole reply. Raises LMError classes."""
        body = to_body(
            self._request,
            self._sampling,
            chat=bool(engine.chat),
            keep_prefix=not engine.options.deterministic,
            index=self._index,
            to_grammar=engine.to_grammar,
        )

        def on_chunk(chunk: Chunk) -> bool:
            return self._take(chunk) or self._stopped or engine.closing.is_set()

        unreadable = engine.generate(body, on_chunk)
        if unreadable is not None:
            message = f"The request has no form that the engine can read: {unreadable}"
            raise BadRequest(message, model=self._request.model, provider="llamacpp")
        if self._fault is not None:
            raise self._fault
        return self._checked(closed=engine.closing.is_set())

    def _take(self, chunk: Chunk) -> bool:
        try:
            delta = self._reply.take(chunk)
            if delta is not None and self._on_delta is not None:
                self._on_delta(delta)
        except Exception as error:  # noqa: BLE001  # the engine swallows what its callback raises; `run` raises it again
            self._fault = error
            return True
        return False

    def _checked(self, *, closed: bool) -> Reply:
        reply = self._reply
        if self._stopped:
            return reply
        if reply.finish_reason is None:
            if closed:
                raise Unavailable("The model was closed while it answered.", provider="llamacpp", retryable=False)
            raise ProtocolError("The engine ended without a last word.", provider="llamacpp", partial=reply.text)
        check_json(self._request, self._sampling, reply)
        return reply


def put(loop: asyncio.AbstractEventLoop, queue: "asyncio.Queue[LMDelta | None]", item: LMDelta | None) -> None:
    """Hand an item to a queue of another thread's loop; nobody waits there any more if the loop is closed."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(queue.put_nowait, item)


def close_engine(engines: dict[int, Engine]) -> None:
    """Close this process's engine, if it has one; those of a parent process are left alone."""
    engine = engines.pop(os.getpid(), None)
    if engine is not None:
        engine.close()
