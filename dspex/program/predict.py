"""Predict: one signature, one call to a model, and at most `max_reasks` more to mend a reply that does not parse."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from dspex.app.accounting import track_usage
from dspex.app.app import App, current_app
from dspex.app.lm import LM
from dspex.core.errors import InputError, ProgramFileError
from dspex.core.example import Example, Prediction
from dspex.core.identity import plain
from dspex.program.adapters.adapter import own_call
from dspex.program.adapters.choice import AdapterChoice
from dspex.program.calling import Call, chosen_for, model
from dspex.program.demo_selection import DemoSelector, select_demos, selector_from, selector_state
from dspex.program.marked_parts import unmarked
from dspex.program.signature import Signature, ensure_signature, signature_class
from dspex.program.typed import P, Q, S_co, SignatureClass, SignatureModule, T
from dspex.runtime.callbacks import Emission
from dspex.runtime.scope import SCOPE
from dspex.runtime.stepping import HOP

CALL_WORDS = frozenset({"signature", "new_signature", "demos", "config", "lm", "_trace"})


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
        self.signature: type[Signature] = signature_class(signature)
        self.config: dict[str, Any] = config
        self.demos: list[Any] = []
        self.lm: LM | None = None
        self.demo_selector: DemoSelector | None = None
        self.choice_bias: Mapping[Any, Any] | None = None
        self.traces: list[Any] = []
        self.train: list[Any] = []

    @property
    def stage(self) -> str:
        """DSPy's: a text that tells this predictor from all others of the process."""
        return f"{id(self):016x}"

    async def _acall(self, /, *args: Any, **kwargs: Any) -> Prediction:
        """One prediction; inputs by keyword only."""
        if args:
            raise self._by_place()
        app = current_app()
        settings = app.settings.in_force()
        if settings["track_usage"] and not SCOPE.get().path:
            with track_usage() as usage:
                prediction = await self._told(app, settings, kwargs)
            prediction.set_lm_usage(usage.get_total_tokens())
            return prediction
        if self.callbacks or settings["callbacks"]:
            return await self._told(app, settings, kwargs)
        return await self._predict(app, settings, kwargs, ())

    async def aforward(self, /, *args: Any, **kwargs: Any) -> Prediction:
        """For a class below that overrides it: as a call, of which `acall` has told already."""
        if args:
            raise self._by_place()
        app = current_app()
        settings = app.settings.in_force()
        return await self._predict(app, settings, kwargs, [*settings["callbacks"], *self.callbacks])

    def _by_place(self) -> ValueError:
        names = ", ".join(f"{field.name}=" for field in self.signature.compiled.inputs)
        return ValueError(f"Positional arguments are not allowed when calling a Predict: call it with {names}")

    if not TYPE_CHECKING:  # checkers know it from SignatureModule
        acall = _acall

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if {"forward", "aforward"} & cls.__dict__.keys() and "acall" not in cls.__dict__:
            cls.acall = SignatureModule.acall  # type: ignore[method-assign]  # what the class wrote is to be run

    async def _told(self, app: App, settings: Mapping[str, Any], kwargs: dict[str, Any]) -> Prediction:
        callbacks = [*settings["callbacks"], *self.callbacks]
        if not callbacks:
            return await self._predict(app, settings, kwargs, ())
        async with Emission(callbacks, "module", self, kwargs) as emission:
            emission.outputs = await self._predict(app, settings, kwargs, callbacks)
        return emission.outputs  # type: ignore[no-any-return]  # it was set just above

    async def _predict(
        self, app: App, settings: Mapping[str, Any], given: dict[str, Any], callbacks: Sequence[Any]
    ) -> Prediction:
        signature, config, lm = self.signature, self.config, self.lm
        demos: Sequence[Any] = self.demos
        if not CALL_WORDS.isdisjoint(given):
            signature = ensure_signature(given.pop("new_signature", None) or given.pop("signature", None) or signature)
            demos = given.pop("demos", demos)
            config = {**config, **(given.pop("config", None) or {})}
            lm = given.pop("lm", lm)
            given.pop("_trace", None)
        lm = model(lm or settings["lm"], app)
        compiled = signature.compiled
        inputs = compiled.check_inputs(given)
        strict = settings["warn_on_type_mismatch"]
        if strict and (faults := compiled.mismatches(inputs)):
            told = "; ".join(f"{name!r}: {fault}" for name, fault in faults.items())
            if strict == "error":
                raise InputError(f"Inputs of `{compiled.text}`: {told}")
            warnings.warn(f"Inputs of `{compiled.text}`: {told}", RuntimeWarning, stacklevel=2)
        if self.demo_selector is not None:
            demos = await select_demos(self.demo_selector, inputs, demos)
        wanted = settings["adapter"]
        own = None if wanted is None else own_call(wanted)
        if own is None:
            call = Call(
                lm, config, signature, demos, inputs, wanted, callbacks, self, self.choice_bias, settings["max_reasks"]
            )
            outputs = await call.outputs(app)
        else:
            await HOP  # a sync call has had no loop until here
            outputs = await own(lm, lm_kwargs=config, signature=signature, demos=demos, inputs=inputs)
            listener = SCOPE.get().listener
            if listener is not None and (hearing := listener.hearing(self, compiled)) is not None:
                await hearing.settle(outputs[0])
        one = len(outputs) == 1
        prediction = Prediction.owning(outputs[0]) if one else Prediction.from_completions(outputs, signature)
        trace = SCOPE.get().trace
        if trace is not None:
            trace.append((self, inputs, prediction))
        return prediction

    def adapter_choice(self, lm: LM | None = None) -> AdapterChoice:
        """The adapter and form that a call would use, and why; `lm` None is this predictor's, else the settings'.

        Raises ConfigurationError if there is no LM, or no adapter of the name that is set.
        """
        app = current_app()
        asked = model(lm or self.lm, app)
        params = (*asked.kwargs, *self.config)
        return chosen_for(app.settings.adapter, self.signature.compiled, asked.capabilities, app, params)[0]

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
        signature = self.signature.load_state(state["signature"])
        demos = [unmarked(signature.fields, demo) for demo in state.get("demos", [])]
        config = dict(state.get("config", self.config))
        lm = _lm(state["lm"], self.lm) if state.get("lm") else self.lm
        bias = _bias(signature, state["choice_bias"]) if state.get("choice_bias") else None
        selector = selector_from(state, self.demo_selector)

        def apply() -> None:
            self.demos, self.signature, self.config, self.lm = demos, signature, config, lm
            self.choice_bias, self.demo_selector = bias, selector

        return apply

    def _recipe(self) -> dict[str, Any]:
        return {"signature": self.signature.to_json_schema()}

    def __repr__(self) -> str:
        more = f", {len(self.demos)} demos" if self.demos else ""
        return f"{type(self).__name__}({self.signature.signature!r}{more})"


def _bias(signature: type[Signature], given: Mapping[Any, Any]) -> Any:
    from dspex.program.choice_bias import read_bias

    return read_bias(signature.compiled, given)


def _lm(state: Mapping[str, Any], own: LM | None) -> LM:
    """The LM of a state, or the predictor's own, where the state means an object that no file can hold."""
    from dspex.app.fallback import lm_from_state

    named = str(state.get("model", "/"))
    if own is not None and own._provider is not None and own.model == named:
        return own  # what set_lm was given
    if "/" not in named:
        raise ProgramFileError(
            f"its LM {named!r} is named without a provider. Where your code makes it, as an object of its own, give it "
            f"to the program before you load, program.set_lm(...); else write 'provider/{named}' into the file."
        )
    return lm_from_state(state)


def _fields(demo: Any) -> Any:
    return demo.items(include_dspy=True) if isinstance(demo, Example) else demo.items()
