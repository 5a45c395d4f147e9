"""LM: the user's handle on a model; cheap to make, resolved to a service of the current App at its first call."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, Self, TextIO

import msgspec

from dspex.app.app import App, current_app, default_app
from dspex.app.endpoints import HANDLES_OWN, Connection, changed_terms, terms
from dspex.app.history import History, HistoryEntry, keep, show
from dspex.app.openai_form import asked, completions
from dspex.app.written_lm import CALLS, Written, answers_itself, asks_base, is_written, reply_of
from dspex.core.dictionaries import to_message
from dspex.core.endpoint import Capabilities, Endpoint
from dspex.core.errors import ConfigurationError
from dspex.core.messages import LMDelta, LMRequest, LMResponse, Message
from dspex.core.secret import Secret
from dspex.core.wire import HttpLimits
from dspex.runtime.callbacks import Emission
from dspex.runtime.scope import SCOPE, Scope
from dspex.runtime.stepping import HOP, run_stepped
from dspex.service.breaker import BreakerPolicy
from dspex.service.call import Options, attempts_of
from dspex.service.hedge import checked_after
from dspex.service.lm import LMService
from dspex.service.pieces import MANY, drawn_together, whole
from dspex.service.retry import Retrying
from dspex.service.stream import stream

NOT_SAVED = frozenset({"api_key", "api_base", "base_url", "headers", "extra_headers", "model_list", "provider", "path"})
CALLS_OWN = frozenset(
    {"cache", "num_retries", "timeout", "retry", "hedge_after", "dispatch"}
)  # say how a call is made; never sent
DSPY_ONLY = frozenset(
    {
        *("_dspy_lm_class", "finetuning_model", "launch_kwargs", "train_kwargs", "use_developer_role"),
        *("engine", "async_engine", "prompt_cache", "callbacks", "stream"),
    }
)
INSTEAD = MappingProxyType(
    {
        "async_engine": "providers are plugins, or an object: provider=",
        "engine": "providers are plugins, or an object: provider=",
        "stream": "a call gives its whole reply; dspex.streamify, and `lm.stream(request)`, give it in pieces",
        "prompt_cache": "what a provider's own cache of prompts takes is a parameter of the provider",
    }
)

# DSPy's properties that a class of one's own may override, to say what its model can do.
SUPPORTS: Mapping[str, str] = MappingProxyType(
    {
        "supports_function_calling": "tools",
        "supports_reasoning": "reasoning",
        "supports_response_schema": "json_schema",
    }
)

PARAMS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "tools": frozenset({"tools", "tool_choice"}),
        "reasoning": frozenset({"reasoning_effort"}),
        "json_schema": frozenset({"response_format"}),
        "logprobs": frozenset({"logprobs", "top_logprobs"}),
    }
)

MODEL_TYPES = ("chat", "text", "responses")
Turns = Sequence[Mapping[str, Any]]


class LM:
    """A model by `"provider/model"`; the provider is an installed plugin.

    `num_retries` counts attempts after the first, or `retry` is a policy of your own; `timeout` covers the whole call in
    seconds, queue included (None: 120 s from the first permit). `max_in_flight`, `requests_per_minute` and
    `tokens_per_minute` are limits (None: none) that all equal handles share, `adaptive` finds the number in flight
    that the endpoint bears. `breaker` False switches the circuit breaker off, a BreakerPolicy tunes it;
    `http_limits` bounds each exchange. `hedge_after` is that of `dspex.Hedged`. With `dispatch="batch"` calls are put
    together and answered later, within a day and for about half the price, where the provider has that. Keywords that the provider's
    options name make the endpoint; all others are parameters under OpenAI's names. `provider=` takes an LMProvider
    object instead of a plugin's. `capabilities` are what you know of the model, and go before what its provider knows. `train_kwargs` and `finetuning_model` are for a training of it, and never sent. A call may change parameters, and `cache`, `timeout`, `num_retries`, `retry`,
    `hedge_after` and `dispatch`; for anything else take a `copy`. Errors of the endpoint are raised by the calls, not here.
    A subclass with a `forward` or `aforward` of its own is called by that, as a BaseLM; so is one with a `__call__` or `acall`,
    which may stand around LM's own by `super()`.
    """

    cache_key: str | None = None  # of a subclass with a `forward`: see BaseLM
    _says: tuple[str, ...] = ()  # those of SUPPORTS that a subclass has of its own
    _own_calls: tuple[str, ...] = ()  # and of `__call__` and `acall`
    _wraps = False  # one of these stands around that of a base class

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls._says = tuple(name for name in SUPPORTS if getattr(cls, name) is not getattr(LM, name))
        cls._own_calls = tuple(name for name in CALLS if getattr(cls, name) is not getattr(LM, name))
        cls._wraps = any(asks_base(getattr(cls, name)) for name in cls._own_calls)

    def __init__(  # noqa: PLR0917  DSPy's order
        self,
        model: str,
        model_type: Literal["chat", "text", "responses"] = "chat",
        temperature: float | None = None,
        max_tokens: int | None = None,
        cache: bool = True,
        callbacks: Sequence[Any] | None = None,
        num_retries: int = 3,
        provider: Any = None,
        *,
        api_key: str | Secret | None = None,
        api_base: str | None = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        max_in_flight: int | None = None,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        adaptive: bool = False,
        retry: Retrying | None = None,
        breaker: BreakerPolicy | bool = True,
        http_limits: HttpLimits = HttpLimits(),  # noqa: B008  # frozen
        hedge_after: float | str | None = None,
        dispatch: Literal["live", "batch"] = "live",
        capabilities: Capabilities | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if answers_itself(type(self)) or (provider is None and is_written(type(self))):
            provider, cache = Written(self), cache and self.cache_key is not None
        _check_model(model, model_type, needs_name=provider is None)
        self.model = model
        self.model_type = model_type
        self.cache = cache
        self.callbacks = list(callbacks or ())
        self.num_retries = num_retries
        self.timeout = timeout
        self.retry = retry
        self.hedge_after = hedge_after
        self.dispatch = dispatch
        self.finetuning_model: str | None = None
        self.launch_kwargs: Mapping[str, Any] = {}  # DSPy's, for servers that it starts; here nothing does
        self.train_kwargs: Mapping[str, Any] = {}
        self._take(kwargs)
        self.kwargs: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, **kwargs}
        self._provider = provider
        also = self.kwargs.pop("extra_headers", None)  # as LiteLLM calls them
        self._connection = Connection.of(api_key, api_base, base_url, headers, also)
        self._terms = terms(
            max_in_flight=max_in_flight,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            adaptive=adaptive,
            breaker=breaker,
            http_limits=http_limits,
            capabilities=capabilities,
        )
        self._options = self._wanted()
        self._bound: tuple[Any, LMService] | None = None  # with the App or tape that it is of
        self._params: dict[str, Any] = {}
        self._seen: dict[str, Any] = {}  # `kwargs` as they were when it was bound: a user may change them in place
        self._history: History = deque()

    def _take(self, given: dict[str, Any]) -> None:
        """Out of keywords those of DSPy's that are no parameters of a request. Raises ConfigurationError for what is not here."""
        for name in DSPY_ONLY & given.keys():
            value = given.pop(name)
            if name in INSTEAD and value and value != "auto":
                raise ConfigurationError(f"LM({self.model!r}, {name}={value!r:.60}): {INSTEAD[name]}.")
            if name == "finetuning_model":
                self.finetuning_model = value
            elif name in ("launch_kwargs", "train_kwargs"):
                setattr(self, name, value or {})

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name in CALLS_OWN and "_options" in self.__dict__:  # else it is being made
            self._options = self._wanted()

    # What Predict and the engine use

    @property
    def service(self) -> LMService:
        """The current App's service for this model. Raises ConfigurationError if no plugin offers the provider."""
        scope, bound = SCOPE.get(), self._bound
        if bound is not None and scope.tape is None and bound[0] is (scope.app or default_app.app):
            return bound[1]
        return self._bind(scope)

    def _bind(self, scope: Scope) -> LMService:
        # A tape that is played stands for all that an App has.
        tape = scope.tape if scope.tape is not None and scope.tape.is_replay else None
        owner = tape or scope.app or default_app.get()
        if self._bound is not None and self._bound[0] is owner:
            return self._bound[1]
        if tape is not None:
            from dspex.app.played import played_lm

            given = self._given() | ({} if self.model_type == "chat" else {"model_type": self.model_type})
            service, self._params = played_lm(tape, self._connection, self.model, given, self._provider)
        else:
            endpoint, self._params = self._endpoint(owner)
            service = owner.lm_service(endpoint, self._provider, self._terms)
        self._seen = dict(self.kwargs)
        self._bound = (owner, service)
        return service

    def _wanted(self) -> Options:
        return _options(**{name: getattr(self, name) for name in CALLS_OWN})

    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in self.kwargs.items() if value is not None}

    def _endpoint(self, app: App) -> tuple[Endpoint, dict[str, Any]]:
        params = self._given()
        if self._provider is not None:
            name, _, model = self.model.rpartition("/")
            return self._connection.bare(name or "custom", model), params
        if self.model_type != "chat":
            params["model_type"] = self.model_type
        endpoint, params = self._connection.endpoint(app, "lm_providers", self.model, params, repr(self))
        if "model_type" in params:
            raise ConfigurationError(f"{self!r}: {endpoint.provider!r} has no model_type={self.model_type!r}.")
        return endpoint, params

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do, each None where unknown; what a subclass says by `supports_...` goes before."""
        found = self._offered
        if not self._says:
            return found
        return msgspec.structs.replace(found, **{SUPPORTS[name]: bool(getattr(self, name)) for name in self._says})

    @property
    def _offered(self) -> Capabilities:
        return self.service.capabilities

    @property
    def supports_function_calling(self) -> bool:
        """Whether it is known to take tools."""
        return bool(self._offered.tools)

    @property
    def supports_reasoning(self) -> bool:
        """Whether it is known to think before it answers."""
        return bool(self._offered.reasoning)

    @property
    def supports_response_schema(self) -> bool:
        """Whether it is known to hold to a JSON schema."""
        return bool(self._offered.json_schema)

    @property
    def supported_params(self) -> set[str]:
        """The parameters that it is known to take: those of any model, and those of what this one can do."""
        able = (params for name, params in PARAMS.items() if getattr(self.capabilities, name))
        return {"temperature", "top_p", "max_tokens", "stop"}.union(*able)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this model's answers from another's: endpoint, options and parameters; no key, header or retry."""
        service = self.service
        endpoint = service.endpoint
        return {
            "provider": endpoint.provider,
            "base_url": service.base_url,
            "model": endpoint.model,
            "options": dict(endpoint.options),
            "params": self._params,
        }

    def request(
        self,
        messages: tuple[Message, ...],
        params: Mapping[str, Any],
        *,
        tools: tuple[Mapping[str, Any], ...] = (),
        schema: Mapping[str, Any] | None = None,
        n: int = 1,
    ) -> LMRequest:
        """A request with this handle's own parameters under `params`; None removes one. Raises ConfigurationError.

        A `response_format` that is a pydantic model is its schema.
        """
        if self._bound is not None and self.kwargs != self._seen:
            self._bound = None
        _, service = self._bound or (None, self.service)  # of whichever App: the names are the same
        merged = self._params
        overlay = SCOPE.get().overlay.get("lm_params")
        if params or overlay:
            together = {**merged, **params, **(overlay or {})}
            merged = {name: value for name, value in together.items() if value is not None}
            if not HANDLES_OWN.isdisjoint(merged):
                self._refuse(merged)
        if "n" in merged:
            n = merged["n"] if n == 1 else n
            merged = {name: value for name, value in merged.items() if name != "n"}
        if type(n) is not int or n < 1:
            raise ConfigurationError(f"n={n!r}: it is a number of completions, one or more.")
        form: Any = merged.get("response_format")
        if form is not None and hasattr(form, "model_json_schema"):
            schema = schema or form.model_json_schema()
            merged = {name: value for name, value in merged.items() if name != "response_format"}
        return LMRequest(service.endpoint.model, messages, merged, tools, schema, n)

    def _refuse(self, params: Mapping[str, Any]) -> None:
        name = min(HANDLES_OWN & params.keys())
        if name in INSTEAD:
            raise ConfigurationError(f"{name!r}: {INSTEAD[name]}.")
        raise ConfigurationError(
            f"{name!r} belongs to the handle, not to a call: dspex.LM({self.model!r}, {name}=...) or lm.copy({name}=...)."
        )

    def _carried(self, request: LMRequest) -> tuple[LMRequest, Options]:
        """The request as it is sent, and how."""
        if not request.params or CALLS_OWN.isdisjoint(request.params):
            return request, self._options
        how = {name: request.params.get(name, getattr(self, name)) for name in CALLS_OWN}
        params = {name: value for name, value in request.params.items() if name not in CALLS_OWN}
        return msgspec.structs.replace(request, params=params), _options(**how)

    @property
    def is_ready(self) -> bool:
        """Whether the provider has started, as far as this handle knows."""
        bound = self._bound
        return bound is not None and bound[1].is_ready

    async def ready(self) -> None:
        """Start the provider, if it has not started yet; it may only then know what it can do."""
        await self.service.ready()

    async def complete(self, request: LMRequest, *, by_base: bool = False) -> LMResponse:
        """A whole reply; `by_base` is without a `__call__` of one's own. Raises LMError classes, PluginError or BudgetExceeded."""
        if self._wraps and not by_base:
            await HOP
            return await reply_of(self, CALLS, request)
        options = self._options
        if request.params:
            request, options = self._carried(request)
        try:
            response = await self.service.complete(request, options)
        except (Exception, asyncio.CancelledError) as error:
            self._remember(request, LMResponse(()), error)
            raise
        self._remember(request, response)
        return response

    async def stream(self, request: LMRequest) -> AsyncGenerator[LMDelta, None]:
        """The reply in pieces, as they arrive."""
        pieces: list[LMDelta] = []
        kept = 0
        request, options = self._carried(request)
        try:
            async with aclosing(stream(self.service, request, options)) as deltas:
                async for delta in deltas:
                    pieces.append(delta)
                    if len(pieces) - kept >= MANY:
                        kept = drawn_together(pieces, kept)
                    yield delta
        except (Exception, asyncio.CancelledError) as error:
            self._remember(request, whole(pieces), error)
            raise
        self._remember(request, whole(pieces))

    def _remember(self, request: LMRequest, response: LMResponse, failure: BaseException | None = None) -> None:
        app = current_app()
        settings = app.settings.in_force()
        if settings["disable_history"]:
            return
        error = None if failure is None else f"{type(failure).__name__}: {failure}".removesuffix(": ")
        entry = HistoryEntry(self.model, request, response, app.clock.now(), error, self.model_type)
        keep(entry, (self._history, app.history), settings["max_history_size"], settings["max_history_characters"])

    async def forget(self, request: LMRequest) -> None:
        """Drop a cached reply that could not be used."""
        request, options = self._carried(request)
        if options.cache:
            await self.service.forget(request)

    # What a user calls

    def __call__(self, prompt: str | Turns | None = None, messages: Turns | None = None, **kwargs: Any) -> list[Any]:
        """The completions' texts; dictionaries where a completion has more than text. A list as the prompt is the messages."""
        return run_stepped(current_app().bridge, LM.acall(self, prompt, messages, **kwargs))

    async def acall(self, prompt: str | Turns | None = None, messages: Turns | None = None, **kwargs: Any) -> list[Any]:
        """As calling it."""
        if messages is None:
            messages = (
                [{"role": "user", "content": prompt or ""}] if prompt is None or isinstance(prompt, str) else prompt
            )
        n = kwargs.pop("n", None) or 1
        request = self.request(tuple(to_message(one) for one in messages), kwargs, n=n)
        callbacks = [*current_app().settings.callbacks, *self.callbacks]
        answer = partial(self.complete, by_base=True) if self._wraps else self.complete
        if not callbacks:
            return completions(await answer(request))
        async with Emission(callbacks, "lm", self, asked(request)) as emission:
            emission.outputs = made = completions(await answer(request))
        return made

    def copy(self, **changes: Any) -> Self:
        """A handle with other settings or parameters and a history of its own; None removes a parameter."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        for name in changes.keys() & {*CALLS_OWN, "model", "model_type"}:
            setattr(twin, name, changes.pop(name))
        twin.callbacks = list(changes.pop("callbacks", self.callbacks))
        own = Written(twin) if isinstance(self._provider, Written) else self._provider
        twin._provider = changes.pop("provider", own)
        _check_model(twin.model, twin.model_type, needs_name=twin._provider is None)
        twin._take(changes)
        twin._connection, twin._terms = self._connection.changed(changes), changed_terms(self._terms, changes)
        twin.kwargs = {name: value for name, value in {**self.kwargs, **changes}.items() if value is not None}
        twin._options = twin._wanted()
        twin._bound, twin._history = None, deque()
        return twin

    def dump_state(self) -> dict[str, Any]:
        """What a saved program keeps of an LM: no key, header, endpoint or provider object."""
        plain = {name: value for name, value in self.kwargs.items() if isinstance(value, (str, int, float, bool, list))}
        kept = {
            "model": self.model,
            "model_type": self.model_type,
            "cache": self.cache,
            "num_retries": self.num_retries,
            **({} if self.hedge_after is None else {"hedge_after": self.hedge_after}),
        }
        return {**kept, **{name: value for name, value in plain.items() if name not in NOT_SAVED}}

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> "LM":
        """An LM from a saved program's state; it never takes an endpoint, a key or a header from there."""
        blocked = NOT_SAVED | DSPY_ONLY
        return LM(**{name: value for name, value in state.items() if name not in blocked and value is not None})

    def __getstate__(self) -> dict[str, Any]:
        # What it is bound to, and what it heard, are of this process; a key in it cannot be pickled.
        return {**self.__dict__, "_bound": None, "_history": deque()}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Copies of a program share their LM: it is a handle on a service, not state.
        return self

    @property
    def history(self) -> list[dict[str, Any]]:
        """The last calls, oldest first, bounded by `max_history_size`."""
        return [entry.to_dict() for entry in self._history]

    def inspect_history(self, n: int = 1, file: TextIO | None = None) -> None:
        """Print the last `n` calls of this handle, as `dspex.inspect_history` does for all."""
        show(self._history, n, file)

    def __repr__(self) -> str:
        return f"dspex.LM({self.model!r})"


def _check_model(model: Any, model_type: str, *, needs_name: bool) -> None:
    """Raises ConfigurationError for what names no model; a provider that is not given has to be named with it."""
    if not isinstance(model, str):
        raise ConfigurationError(f"LM takes 'provider/model', not {model!r:.80}.")
    if needs_name and "/" not in model:
        raise ConfigurationError(f"LM({model!r}): name the provider too, as in LM('openai/{model or 'gpt-4o-mini'}').")
    if model_type not in MODEL_TYPES:
        raise ConfigurationError(f"LM(model_type={model_type!r}): it is {', '.join(map(repr, MODEL_TYPES))}.")


def _options(*, num_retries: int, hedge_after: float | str | None, retry: Retrying | None, **how: Any) -> Options:
    after = None if hedge_after is None else checked_after(hedge_after)
    return Options(attempts=attempts_of(num_retries), retry=retry, hedge_after=after, **how)
