"""The contracts between the kernel and its plugins, as Protocols; only optimizers need a base class.

Optional members are read with `getattr`, so a class that lacks one fulfils its contract all the same; they stand in the
docstrings. Providers know nothing of retry, cache, limits or budgets: those stand once, around them.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from dspex.core.batches import BatchResults, BatchSpec, BatchStatus
from dspex.core.endpoint import Endpoint
from dspex.core.events import Event
from dspex.core.finetune import FineTuneSpec, FineTuneStatus
from dspex.core.messages import LMDelta, LMRequest, LMResponse, Passage, Vectors
from dspex.core.sandbox import Output, SandboxLimits
from dspex.core.where import Condition
from dspex.core.wire import HttpReply, MakeFraming, ServerEvent
from dspex.plugin.executors import Chunk, ExecutorRecord


class HttpClient(Protocol):
    """HTTP for one endpoint: paths join its base_url, a whole URL stays as it is; limits, deadline, redirects and redaction are the client's work.

    A status other than 2xx, and every fault of the network, raises an LMError class; the provider's optional
    `error(status, headers, body)` may refine the mapping.
    """

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        is_final: bool = False,
    ) -> HttpReply:
        """One request; `json` is encoded by msgspec, `body` is sent as it is.

        One that meets a kept connection which has died is sent again on another, unless it `is_final`: it must not be
        taken twice.
        """

    def events(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        framings: Mapping[str, MakeFraming] = {},
    ) -> AsyncGenerator[ServerEvent, None]:
        """The reply as server-sent events; close it, with `contextlib.aclosing`, if you leave it early.

        `framings` reads streams of other forms, by their content types; a reply of any other type comes as one event named
        "body".
        """


class EndpointClient(HttpClient, Protocol):
    """The HttpClient that a retriever's factory is given, which tells where the user wants it: base_url, api_key, headers."""

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of its requests."""


class LMProvider(Protocol):
    """A language model behind one endpoint.

    Optional: `stream(request)`, an async generator of LMDelta, the last with `finish_reason` and usage (absent: one
    delta from `complete`); `capabilities: Capabilities | None` (absent or None: unknown; read again after `start`);
    `error(status, headers, body) -> LMError | None`; `async start()`, called once before the first attempt,
    in a forked child again; `finetune_start`, `finetune_status` and `finetune_cancel` (`FineTuningProvider`); `async background()`, kept alive as a supervised child of the App; `async aclose()`, called
    once when the App stops.
    The object is used from several loops and threads at once: what is bound to a loop belongs into `PerLoop`.
    A param that the provider cannot honour raises BadRequest naming the capability.
    """

    async def complete(self, request: LMRequest) -> LMResponse:
        """The whole reply. Raises LMError classes; anything else becomes PluginError."""


class StreamingProvider(LMProvider, Protocol):
    """An LMProvider that streams natively."""

    def stream(self, request: LMRequest) -> AsyncIterator[LMDelta]:
        """The reply in pieces, as they arrive.

        Whole `tool_calls` come in the last piece; what comes of them before may be told by `tool_call_pieces`.
        """


class FineTuningProvider(LMProvider, Protocol):
    """An LMProvider that trains models. Optional: `finetune_cost(spec) -> float | None`, the most it costs in dollars."""

    async def finetune_start(self, spec: FineTuneSpec) -> str:
        """The id of a new job. Asked again with the `key` of one that is queued, runs or has succeeded, it is that one's id."""

    async def finetune_status(self, job: str) -> FineTuneStatus:
        """How far a job is; it is asked for again and again, also by another process."""

    async def finetune_cancel(self, job: str) -> None:
        """End a job; for one that has ended it is no error."""


class BatchingProvider(LMProvider, Protocol):
    """An LMProvider that answers many requests later, for less.

    Optional: `batch_limit`, the most requests of one batch (1,000), and `batch_price`, what they cost as a share of the
    usual price (0.5), for replies whose usage has no `usd`.
    """

    async def batch_start(self, spec: BatchSpec) -> str:
        """The id of a new batch. Asked again with the `key` of one that it took, it is that one's id, where that can be told."""

    async def batch_status(self, batch: str) -> BatchStatus:
        """How far it is; it is asked for again and again, also by another process."""

    async def batch_results(self, batch: str) -> BatchResults:
        """A reply or an error for each request of a batch that ended; what is missing had no answer in time."""

    async def batch_cancel(self, batch: str) -> None:
        """End a batch; for one that has ended it is no error."""


class EmbeddingProvider(Protocol):
    """Texts to vectors behind one endpoint; errors are LMError classes. Optional: `base_url`, and `start`, `background`,
    `aclose` as an LMProvider; `most_texts` and `most_bytes` (of their UTF-8), what it takes in one call where that is less
    than a user's batch: each part then is a call of its own, with its own retries, limits, place in budgets and in the cache.
    """

    async def embed(self, texts: list[str]) -> Vectors:
        """One row a text, in order."""


class RetrieverProvider(Protocol):
    """Passages for a query; errors are RetrieverError, or LMError classes where a later attempt may succeed.

    Its factory takes (options, http, embedder): http an EndpointClient, the embedder an EmbeddingProvider or None. Optional, all async:
    `search` (`SearchingRetriever`), `add(passages)`, each with an id and metadata that is JSON data, one that is there being replaced; `delete(ids)`, absent
    ones being no error; `save(path)`, `start()`, `background()`, `aclose()`.
    The object is used from several loops and threads at once.
    """

    async def retrieve(self, query: str, k: int) -> list[Passage]:
        """The k best passages, best first; scores do not rise, and fewer come where there are fewer."""


class SearchingRetriever(RetrieverProvider, Protocol):
    """A RetrieverProvider that narrows searches by metadata, and takes several queries at a time."""

    async def search(self, queries: list[str], k: int, where: tuple[Condition, ...]) -> list[list[Passage]]:
        """For each query the k best of the passages for which all conditions hold."""


class CacheBackend(Protocol):
    """Bytes by key; its errors never leave the cache service, they count as misses.

    Optional: `peek(key) -> bytes | None`, synchronous, never waits; `async start()`, `background() -> Awaitable`, a
    coroutine that the App supervises for as long as the backend lives (a writer, a sweeper); `patience`, the seconds that
    a call waits for it (0.05), beyond which it counts as a miss and the backend is left alone for 5 s.
    """

    async def get(self, key: bytes) -> bytes | None:
        """The value, or None."""

    async def set(self, key: bytes, value: bytes, ttl: float | None = None) -> None:
        """Keep a value, for `ttl` seconds if given."""

    async def delete(self, key: bytes) -> None:
        """Forget a value; an absent one is no error."""

    async def clear(self) -> None:
        """Forget all."""

    async def stats(self) -> Mapping[str, float]:
        """Figures by name, at least `entries` and `bytes`."""

    async def aclose(self) -> None:
        """Write out what is pending and let go of files."""


CallNext = Callable[[LMRequest], Awaitable[LMResponse]]


class Middleware(Protocol):
    """Wraps every logical LM call, cache hits included.

    Optional: `stream(request, call_next)`, an async generator of LMDeltas, as `call_next(request)` gives them (where one
    lacks it, streams come as one piece, through `__call__`); `retrieve(request, call_next)`, async, around every search: it takes a
    RetrieverRequest and gives a list of Passages.
    """

    async def __call__(self, request: LMRequest, call_next: CallNext) -> LMResponse:
        """Call `call_next(request)` once, or answer without it."""


class Subscriber(Protocol):
    """Receives events through a bounded queue; may lose some, never slows a call."""

    def on_event(self, event: Event) -> None:
        """Called on a thread of the App's choice, one event at a time."""


class SecretSource(Protocol):
    """Gives API keys from a vault. Made anew for each question, and not closed: `get` lets go of what it opens."""

    async def get(self, name: str) -> str | None:
        """The key of that name (`OPENAI_API_KEY`), or None."""


class Executor(Protocol):
    """Runs tasks elsewhere: in other processes, on other machines.

    `run` is called many times at once, from several loops; each call's chunks are its own. A worker gives them to
    `dspex.Workplace`, whose records are what `run` yields. Optional: `patience`, the seconds without a record after which it counts as
    stuck (600; None: it watches its workers itself); `async aclose()`, called once when the App stops.
    """

    def run(self, chunks: Sequence[Chunk]) -> AsyncIterator[ExecutorRecord]:
        """An async generator of the calls and rollouts of these chunks, in any order; it ends when all tasks have one.

        A task is reported "lost" if its worker died: it comes again, in a further chunk. One that is reported twice counts once. When
        the generator is closed, what it had under way ends. What it raises ends the evaluation.
        """


CodeTool = Callable[..., Awaitable[Any]]


class Sandbox(Protocol):
    """Runs code that a model wrote, so that it reaches nothing beside its files and tools.

    Optional: `session(*, files, tools, limits)`, an async context manager that gives a SandboxSession, for code that comes
    in pieces; `async aclose()`, called once when the App stops; `identity`, JSON data that tells it from others; `about`, a
    text for the model: what is special to code that runs here. The object is used from several loops and threads at once.
    """

    async def run(
        self,
        code: str,
        *,
        files: Mapping[str, bytes] = {},
        tools: Mapping[str, CodeTool] = {},
        limits: SandboxLimits = ...,
    ) -> Output:
        """Run Python code. An error of the code, or a limit that it met, is part of the output.

        `files` can be opened by their names, which are relative paths; what the code writes is gone with it. `tools` are
        functions in the code, called in its plain way (`look("x")`); arguments and results are JSON data. A ToolError that
        one raises is raised in the code, with its words; anything else ends the code and is raised here. Raises SandboxError
        where the sandbox itself cannot work. Cancelled, it leaves nothing running.
        """


class SandboxSession(Protocol):
    """Code in pieces: what one defines, the next one finds.

    A piece that meets a limit of time or memory may take all variables with it: its output is `lost` then, the files stay.

    Optional: `async dump() -> bytes`, the variables as they are between two pieces, and `async restore(state)`, which has them
    again in a session that no piece was run in, also of another process. Both raise SandboxError: `restore` for what it cannot
    take, as another version's, and it leaves the session as new.
    """

    async def run(self, code: str) -> Output:
        """As `Sandbox.run`; the limits are those of each piece."""
