"""The contracts between the kernel and its plugins, as Protocols; only optimizers need a base class.

Optional members are read with `getattr`, so a class that lacks one fulfils its contract all the same; they stand in the
docstrings. Providers know nothing of retry, cache, limits or budgets: those stand once, around them.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from dspex.core.batches import BatchResults, BatchSpec, BatchStatus
from dspex.core.candidate import Candidate, Failure, Rollout, Scores
from dspex.core.endpoint import Capabilities, Endpoint
from dspex.core.events import Event
from dspex.core.example import Example, Prediction
from dspex.core.finetune import FineTuneSpec, FineTuneStatus, LMRef
from dspex.core.messages import LMDelta, LMRequest, LMResponse, Message, Passage, Vectors
from dspex.core.sandbox import Output, SandboxLimits
from dspex.core.usage import Budget
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


class FieldView(Protocol):
    """A field of a signature, as an adapter sees it."""

    @property
    def name(self) -> str:
        """Its name, an identifier."""

    @property
    def prefix(self) -> str:
        """Its name for people, ending in a colon: `Sorted name:`."""

    @property
    def desc(self) -> str:
        """What the user says about it, or an empty string."""

    @property
    def annotation(self) -> Any:
        """Its Python type."""

    @property
    def type_text(self) -> str:
        """The type as text, `list[str]`."""

    @property
    def constraints(self) -> str:
        """Constraints in words, or an empty string."""

    @property
    def required(self) -> bool:
        """Whether a reply, or a call, must have it."""

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed texts of a Literal, enum or bool; empty for any other type."""

    def render(self, value: Any) -> str:
        """A value as it stands in a prompt."""

    def decode(self, text: str) -> Any:
        """A value from a model's text. Raises ValueError that says what is wrong."""

    def convert(self, value: Any) -> Any:
        """A value from JSON data. Raises ValueError that says what is wrong."""


class SignatureView(Protocol):
    """A compiled signature, as an adapter sees it. Equal signatures have one `key`, good for prepared templates."""

    @property
    def key(self) -> str:
        """Digest of text, types and instructions."""

    @property
    def instructions(self) -> str:
        """What the model is asked to do."""

    @property
    def inputs(self) -> tuple[FieldView, ...]:
        """Input fields in order."""

    @property
    def outputs(self) -> tuple[FieldView, ...]:
        """Output fields in order."""

    @property
    def output_schema(self) -> Mapping[str, Any]:
        """JSON schema of the outputs as one object."""

    @property
    def templates(self) -> dict[Any, Any]:
        """Where an adapter keeps what it has prepared for this signature, under a key of its own."""


FieldPieces = Sequence[tuple[str, str]]


class ReplyParser(Protocol):
    """Reads fields out of one reply while it comes; made anew for each reply, and used by one task.

    Both methods give pairs (output's name, further piece of its text), as far as that is certain whatever comes next; an
    empty piece says that a field begins, and ends the one before. Pieces of a text field, joined, are its value; of
    another they can be decoded to it. What turns out otherwise is sent anew, and so is what is never given: a parser may
    stop giving pieces wherever it is in doubt.
    """

    def feed(self, text: str) -> FieldPieces:
        """The reply goes on with that text, which is cut anywhere."""

    def end(self) -> FieldPieces:
        """The reply is over."""


class Adapter(Protocol):
    """Turns a signature, demos and inputs into messages, and a completion into values.

    Optional: `params(signature, capabilities) -> dict` gives LM params that the form needs, such as stop strings;
    `schema(signature, capabilities) -> (Mapping | None, str)` gives the JSON schema that the provider shall hold the
    reply to, or None, and why; `reask(signature, completion, error) -> tuple[Message, ...]` gives the turns of a further
    call after a reply that does not parse; `async aparse(signature, completion) -> dict` is awaited in place of `parse`,
    for an adapter that has to ask a model; `is_complete(signature, completion) -> bool` says whether a reply that
    max_tokens cut came to its end all the same; `parser(signature) -> ReplyParser` reads fields while the reply comes
    (absent: they are sent whole, at its end).
    With `use_native_function_calling` True (or None, where the model is known to have them) tools go as the provider's
    functions, `parallel_tool_calls` with them, and `native_response_types` names types that are filled beside the text;
    such an adapter begins with a system message, ends with a user's, and is also given signatures without outputs.
    """

    name: str
    version: int

    def format(
        self, signature: Any, demos: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The messages in DSPy's form: dictionaries of role and content."""

    def render(
        self, signature: Any, demos: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]
    ) -> tuple[Message, ...]:
        """The messages that Predict sends."""

    def parse(self, signature: Any, text: str) -> dict[str, Any]:
        """Typed values by output field. Raises AdapterParseError."""


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


class PhaseHandle(Protocol):
    """An open phase of a compile; progress only."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *exc_info: object) -> None: ...


class CompileContext(Protocol):
    """What an optimizer may do; every effect is keyed by content, journalled and executed once (`Optimizer.run`)."""

    student: Candidate
    teacher: Candidate | None  # the first of `teachers`
    teachers: Sequence[Candidate]
    train: Sequence[Example]
    val: Sequence[Example]
    capabilities: Mapping[str, Capabilities]
    arguments: Mapping[str, Any]
    metric: Any  # `threshold`, `passes(rollout)`; and None where unknown: `binary`, `lower`, `upper`, `gives_feedback`

    PROTOCOL_VERSION: ClassVar[int] = 1

    @property
    def predictors(self) -> Sequence[Any]:
        """The student's predictors in its order: `name` (its path), `signature`, `fields` (FieldViews), `is_tool`."""

    def key_of(self, example: Example) -> str:
        """The example's identity, as rollouts carry it."""

    async def evaluate(
        self,
        candidate: Candidate,
        examples: Sequence[Example],
        *,
        trace: bool = False,
        sample: int = 0,
        temperature: float | None = None,
        role: str = "task",
    ) -> Scores:
        """Run and score a candidate; failures are rollouts with `ok` False."""

    async def evaluate_all(self, pairs: Sequence[tuple[Candidate, Sequence[Example]]], **same: Any) -> list[Scores]:
        """One wave of evaluations, in the order asked for."""

    async def race(
        self,
        candidates: Sequence[Candidate],
        examples: Sequence[Example],
        *,
        z: float = 2.4,
        block: int | None = None,
        keep: int = 1,
    ) -> Any:
        """Evaluate block by block and drop what has clearly lost; `z=math.inf` drops nothing, in one wave."""

    async def collect(
        self,
        candidate: Candidate,
        examples: Sequence[Example],
        want: int,
        *,
        role: str = "teacher",
        rounds: int = 1,
        speculate: bool = True,
    ) -> list[Rollout]:
        """The first `want` passing rollouts in example order, with traces."""

    async def ask(
        self,
        signature: Any,
        *,
        role: str = "prompt",
        n: int = 1,
        sample: int = 0,
        temperature: float | None = None,
        **inputs: Any,
    ) -> list[Prediction | Failure]:
        """`n` answers of a role's model to a signature; one that fails or cannot be read is a `Failure`."""

    async def compute(self, label: str, function: Callable[..., Any], *args: Any, version: Any = "") -> Any:
        """What a pure function of JSON data gives, sync in a thread or async; `version`, a text or a function by whose code it
        goes, is part of its identity. What goes by the metric's code runs where the metric does, on the loop while it is fast.
        """

    async def finetune(self, spec: FineTuneSpec, *, lm: Any, usd: float | None = None) -> LMRef | Failure:
        """Train that model; the reference is for a candidate's `params["lm"]`."""

    async def check_finetune(self, lm: Any, *, usd: float | None = None, train_kwargs: Mapping[str, Any] = {}) -> None:
        """Raises ConfigurationError for a model that cannot be trained."""

    async def now(self) -> float:
        """Seconds of running time since the start; a replay is given the same."""

    async def compile(
        self,
        optimizer: Any,
        student: Candidate,
        *,
        label: str,
        train: Sequence[Example] | None = None,
        val: Sequence[Example] | None = None,
        teacher: Candidate | Sequence[Candidate] | None = None,
        meta: Mapping[str, Any] = {},
        **arguments: Any,
    ) -> Candidate:
        """What another optimizer makes of a candidate, in the same run, pool and budget. Raises EvaluationError if it fails."""

    async def gather(self, *awaitables: Awaitable[Any]) -> list[Any]:
        """Run branches side by side; the only way to do so."""

    def rng(self, label: str) -> Any:
        """A `random.Random` of its own for that label."""

    def consider(
        self, candidate: Candidate, label: str, parents: Sequence[Candidate] = (), meta: Mapping[str, Any] = {}
    ) -> Candidate:
        """Enter a candidate into the pool; scores attach to it by key."""

    def note(self, text: str) -> None:
        """Say something in the evidence."""

    def phase(self, name: str, total: int | None = None) -> PhaseHandle:
        """Name what is going on, for progress."""

    async def remaining(self) -> Budget:
        """What is left of the budget, once own steps in flight have settled."""

    def program(self, candidate: Candidate) -> Any:
        """A new program (a Module) with a candidate's state, not to be run."""

    def attach(self, **attributes: Any) -> None:
        """Attributes of the program that is returned, not saved with it."""
