"""Predict: one signature, one call to a model, and at most `max_reasks` more to mend a reply that does not parse."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import msgspec

from dspex.app.accounting import track_usage
from dspex.app.app import App, current_app
from dspex.app.lm import LM
from dspex.core.endpoint import Capabilities
from dspex.core.errors import ConfigurationError, ProgramFileError
from dspex.core.example import Example, Prediction
from dspex.core.identity import plain
from dspex.program.adapters.choice import AdapterChoice, choose, schema_for
from dspex.program.ask import Ask
from dspex.program.compiled import CompiledSignature
from dspex.program.demo_selection import DemoSelector, select_demos, selector_from, selector_state
from dspex.program.signature import Signature, ensure_signature
from dspex.program.typed import P, Q, S_co, SignatureClass, SignatureModule, T
from dspex.runtime.callbacks import Emission
from dspex.runtime.scope import SCOPE

if TYPE_CHECKING:
    from dspex.program.native import NativePlan

CALL_WORDS = frozenset({"signature", "new_signature", "demos", "config", "lm", "_trace"})
SAMPLING_TEMPERATURE = 0.7


class Predict(SignatureModule[P, S_co]):
    """Calls a model for a signature. Extra keywords are LM parameters for each call (`temperature`, `n`, ...).

    `demos` are Examples or dictionaries; `lm` None is the settings' LM; `demo_selector(inputs, demos)`, which may be
    async, chooses or makes the demos of each call. `choice_bias` is added to the log-probabilities of an output's choices
    (`{"yes": 0.5}`; by field where several have choices) before the likeliest is taken; it needs a model that gives
    them. Raises InputError, AdapterParseError, LMError classes.
    """

    is_parameter = True
    _steps = True

    @overload
    def __init__(
        self: "Predict[Q, T]", signature: SignatureClass[Q, T], callbacks: Sequence[Any] | None = None, **config: Any
    ) -> None: ...
    @overload
    def __init__(
        self: "Predict[..., T]", signature: type[T], callbacks: Sequence[Any] | None = None, **config: Any
    ) -> None: ...
    @overload
    def __init__(
        self: "Predict[..., Prediction]",
        signature: str | Mapping[str, Any],
        callbacks: Sequence[Any] | None = None,
        **config: Any,
    ) -> None: ...
    def __init__(self, signature: Any, callbacks: Sequence[Any] | None = None, **config: Any) -> None:
        super().__init__(callbacks)
        self.signature: type[Signature] = ensure_signature(signature)
        self.config: dict[str, Any] = config
        self.demos: list[Any] = []
        self.lm: LM | None = None
        self.demo_selector: DemoSelector | None = None
        self.choice_bias: Mapping[Any, Any] | None = None
        self.traces: list[Any] = []
        self.train: list[Any] = []

    async def _acall(self, /, *args: Any, **kwargs: Any) -> Prediction:
        """One prediction; inputs by keyword only."""
        if args:
            names = ", ".join(f"{field.name}=" for field in self.signature.compiled.inputs)
            raise ValueError(f"Predict takes its inputs by keyword: call it with {names}")
        app = current_app()
        settings = app.settings
        if settings.track_usage and not SCOPE.get().path:
            with track_usage() as usage:
                prediction = await self._told(app, kwargs)
            prediction.set_lm_usage(usage.get_total_tokens())
            return prediction
        return await self._told(app, kwargs)

    if not TYPE_CHECKING:  # checkers know it from SignatureModule
        acall = _acall

    async def _told(self, app: App, kwargs: dict[str, Any]) -> Prediction:
        callbacks = app.settings.callbacks
        if self.callbacks or callbacks:
            callbacks = [*callbacks, *self.callbacks]
            with Emission(callbacks, "module", self, kwargs) as emission:
                emission.outputs = await self._predict(app, kwargs, callbacks)
            return emission.outputs  # type: ignore[no-any-return]  # it was set just above
        return await self._predict(app, kwargs, ())

    async def _predict(self, app: App, given: dict[str, Any], callbacks: Sequence[Any]) -> Prediction:
        signature, config, lm = self.signature, self.config, self.lm
        demos: Sequence[Any] = self.demos
        if not CALL_WORDS.isdisjoint(given):
            signature = ensure_signature(given.pop("new_signature", None) or given.pop("signature", signature))
            demos = given.pop("demos", demos)
            config = {**config, **given.pop("config", {})}
            lm = given.pop("lm", lm)
            given.pop("_trace", None)
        settings = app.settings
        lm = self._model(lm, app)
        compiled = signature.compiled
        inputs = compiled.check_inputs(given)
        if settings.warn_on_type_mismatch:
            for name, fault in compiled.mismatches(inputs).items():
                warnings.warn(f"Input {name!r} of `{signature.signature}`: {fault}", RuntimeWarning, stacklevel=2)
        if self.demo_selector is not None:
            demos = await select_demos(self.demo_selector, inputs, demos)
        capabilities = lm.capabilities
        wanted = settings.adapter
        if wanted is None and capabilities.chat is None:
            await lm.ready()
            capabilities = lm.capabilities
        chosen, plan = _chosen(wanted, compiled, capabilities, app, (*lm.kwargs, *config))
        adapter = chosen.adapter
        ask = Ask(lm, signature, callbacks, settings.max_reasks, plan)
        scope = SCOPE.get()
        if scope.listener is not None:
            ask.hearing = scope.listener.hearing(self, compiled)
        if plan is None:
            rendered = ask.told("adapter_format", adapter, inputs, lambda: adapter.render(compiled, demos, inputs))
            tools: tuple[Any, ...] = ()
        else:
            rendered = ask.told("adapter_format", adapter, inputs, lambda: plan.render(adapter, demos, inputs))
            tools = plan.definitions(inputs)
        params = _params(adapter, ask.compiled, capabilities, config, lm)
        if self.choice_bias:
            from dspex.program.choice_bias import bias_of, with_logprobs

            ask.decide = bias_of(ask.compiled, self.choice_bias)
            params = with_logprobs(params, capabilities, adapter)
        if tools and (parallel := getattr(adapter, "parallel_tool_calls", None)) is not None:
            params = {"parallel_tool_calls": parallel, **params}
        request = lm.request(rendered, params, tools=tools, schema=chosen.schema)
        outputs = await ask.outputs(adapter, request)
        prediction = Prediction(outputs[0]) if len(outputs) == 1 else Prediction.from_completions(outputs, signature)
        if scope.trace is not None:
            scope.trace.append((self, inputs, prediction))
        return prediction

    def _model(self, lm: LM | None, app: App) -> LM:
        found: Any = lm or app.settings.lm
        if found is None:
            raise ConfigurationError("No LM is set: dspex.configure(lm=dspex.LM('provider/model')), or pass lm= here.")
        if not isinstance(found, LM):
            hint = f" Write dspex.LM({found!r})." if isinstance(found, str) else ""
            raise ConfigurationError(f"An LM is a dspex.LM, or a subclass of dspex.BaseLM, not {found!r:.80}.{hint}")
        return found

    def adapter_choice(self, lm: LM | None = None) -> AdapterChoice:
        """The adapter and form that a call would use, and why; `lm` None is this predictor's, else the settings'.

        Raises ConfigurationError if there is no LM, or no adapter of the name that is set.
        """
        app = current_app()
        model = self._model(lm or self.lm, app)
        params = (*model.kwargs, *self.config)
        return _chosen(app.settings.adapter, self.signature.compiled, model.capabilities, app, params)[0]

    # State

    def reset(self) -> None:
        """Forget LM, demos and how they are chosen, biases and traces."""
        self.lm, self.choice_bias, self.demo_selector = None, None, None
        self.demos, self.traces, self.train = [], [], []

    def update_config(self, **config: Any) -> None:
        """Change LM parameters of all later calls."""
        self.config = {**self.config, **config}

    def get_config(self) -> dict[str, Any]:
        """LM parameters of each call."""
        return self.config

    def dump_state(self) -> dict[str, Any]:
        """Instructions, fields, demos and parameters as JSON data, under DSPy's keys."""
        return {
            "traces": [],
            "train": [],
            "demos": [{name: plain(value) for name, value in _fields(demo)} for demo in self.demos],
            "signature": self.signature.dump_state(),
            "lm": self.lm.dump_state() if self.lm is not None else None,
            "config": plain(self.config),
            **({"choice_bias": _bias(self.signature, self.choice_bias)} if self.choice_bias else {}),
            **selector_state(self.demo_selector),
        }

    def prepare_state(self, state: Any) -> Callable[[], None]:
        """Check a state against this predictor; what is returned takes it over."""
        if not isinstance(state, Mapping) or not isinstance(state.get("demos", []), list):
            raise ProgramFileError(f"a predictor's state is an object with a list of demos, not {state!r:.80}")
        demos = [dict(demo) for demo in state.get("demos", [])]
        signature = self.signature.load_state(state["signature"])
        config = dict(state.get("config", self.config))
        lm = _lm(state["lm"]) if state.get("lm") else self.lm
        bias = _bias(signature, state["choice_bias"]) if state.get("choice_bias") else None
        selector = selector_from(state, self.demo_selector)

        def apply() -> None:
            self.demos, self.signature, self.config, self.lm = demos, signature, config, lm
            self.choice_bias, self.demo_selector = bias, selector

        return apply

    def __repr__(self) -> str:
        more = f", {len(self.demos)} demos" if self.demos else ""
        return f"{type(self).__name__}({self.signature.signature!r}{more})"


def _chosen(
    wanted: Any, compiled: CompiledSignature, capabilities: Capabilities, app: App, params: tuple[str, ...]
) -> tuple[AdapterChoice, "NativePlan | None"]:
    """The adapter, and what goes beside its prompt."""
    chosen = choose(wanted, compiled, capabilities, app.plugins, params)
    if not compiled.may_go_natively:
        return chosen, None
    from dspex.program.native import native_plan

    plan = native_plan(compiled, chosen.adapter, capabilities)
    if plan is None or plan.compiled is compiled:
        return chosen, plan
    schema, _ = schema_for(chosen.adapter, plan.compiled, capabilities, params)
    reason = f"{chosen.reason}; natively: {plan.words}"
    return msgspec.structs.replace(chosen, schema=schema, reason=reason), plan


def _params(
    adapter: Any, compiled: Any, capabilities: Capabilities, config: Mapping[str, Any], lm: LM
) -> Mapping[str, Any]:
    form = getattr(adapter, "params", None)
    params = {**form(compiled, capabilities), **config} if form else config
    if (params.get("n") or 1) > 1 and params.get("temperature", lm.kwargs.get("temperature")) is None:
        # n equal answers at the model's greedy setting would be n times the price of one.
        return {**params, "temperature": SAMPLING_TEMPERATURE}
    return params


def _bias(signature: type[Signature], given: Mapping[Any, Any]) -> Any:
    from dspex.program.choice_bias import read_bias

    return read_bias(signature.compiled, given)


def _lm(state: Mapping[str, Any]) -> LM:
    from dspex.app.fallback import lm_from_state

    return lm_from_state(state)


def _fields(demo: Any) -> Any:
    return demo.items(include_dspy=True) if isinstance(demo, Example) else demo.items()
