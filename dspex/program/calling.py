"""A call of a signature, from inputs to typed outputs: the adapter that fits, its prompt, the model's reply."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from dspex.app.app import App
from dspex.app.lm import LM
from dspex.core.dictionaries import to_dictionaries
from dspex.core.endpoint import Capabilities
from dspex.core.errors import ConfigurationError
from dspex.core.messages import Message
from dspex.program.adapters.choice import AdapterChoice, choose, schema_for
from dspex.program.ask import Ask, read_at_once
from dspex.program.compiled import CompiledSignature
from dspex.program.reply_function import held, spoken
from dspex.runtime.scope import SCOPE

if TYPE_CHECKING:
    from dspex.program.native import NativePlan

SAMPLING_TEMPERATURE = 0.7


class Call(msgspec.Struct, frozen=True):
    """What is asked: `demos` and checked `inputs` of a signature, of `lm` with the parameters `config`.

    `wanted` is the adapter, its name, or None; `predictor` the Predict that asks, `choice_bias` its own.
    """

    lm: LM
    config: Mapping[str, Any]
    signature: Any
    demos: Sequence[Any]
    inputs: Mapping[str, Any]
    wanted: Any
    callbacks: Sequence[Any]
    predictor: Any = None
    choice_bias: Mapping[Any, Any] | None = None
    max_reasks: int | None = None  # None: the setting

    async def outputs(self, app: App) -> list[dict[str, Any]]:
        """The fields of each completion. Raises AdapterParseError, LMError classes."""
        lm, config = self.lm, self.config
        compiled, capabilities = self.signature.compiled, lm.capabilities
        if self.wanted is None and capabilities.chat is None and not lm.is_ready:
            await lm.ready()
            capabilities = lm.capabilities
        chosen, plan = chosen_for(self.wanted, compiled, capabilities, app, (*lm.kwargs, *config))
        adapter = chosen.adapter
        is_plain = plan is None and not self.choice_bias and not hasattr(adapter, "aparse")
        is_heard = (
            self.callbacks or lm.callbacks or getattr(adapter, "callbacks", None) or SCOPE.get().listener is not None
        )
        if not is_plain or is_heard:
            return await self._in_full(app, chosen, plan, capabilities)
        params = _params(adapter, compiled, capabilities, config, lm)
        request = lm.request(adapter.render(compiled, self.demos, self.inputs), params)
        if chosen.schema is not None:
            request = held(request, chosen.schema, capabilities)
        reply = await lm.complete(request)
        outputs = read_at_once(adapter, compiled, reply if chosen.schema is None else spoken(request, reply))
        return await self._ask(app).read(adapter, request, reply) if outputs is None else outputs

    def _ask(self, app: App, plan: "NativePlan | None" = None) -> Ask:
        reasks = app.settings.max_reasks if self.max_reasks is None else self.max_reasks
        return Ask(self.lm, self.signature, self.callbacks, reasks, plan)

    async def _in_full(
        self, app: App, chosen: AdapterChoice, plan: "NativePlan | None", capabilities: Capabilities
    ) -> list[dict[str, Any]]:
        """As `outputs`, with all that may stand around prompt and reply."""
        lm, demos, inputs, adapter = self.lm, self.demos, self.inputs, chosen.adapter
        ask, compiled = self._ask(app, plan), self.signature.compiled
        listener = SCOPE.get().listener
        if listener is not None and self.predictor is not None:
            ask.hearing = listener.hearing(self.predictor, compiled)
            if ask.hearing is not None:
                ask.hearing.is_watched = app.settings.stop_early
        tools: tuple[Any, ...] = () if plan is None else plan.definitions(inputs)
        render = adapter.render if plan is None else partial(plan.render, adapter)
        of = (compiled, demos, inputs) if plan is None else (demos, inputs)
        given = {"demos": demos, "inputs": inputs}
        rendered = await ask.told("adapter_format", adapter, given, partial(render, *of), _as_dictionaries)
        params = _params(adapter, ask.compiled, capabilities, self.config, lm)
        if self.choice_bias:
            from dspex.program.choice_bias import bias_of, with_logprobs

            ask.decide = bias_of(ask.compiled, self.choice_bias, self._weighed)
            params = with_logprobs(params, capabilities, adapter)
        if tools and (parallel := getattr(adapter, "parallel_tool_calls", None)) is not None:
            params = {"parallel_tool_calls": parallel, **params}
        request = lm.request(rendered, params, tools=tools)
        if chosen.schema is not None:
            request = held(request, chosen.schema, capabilities)
        return await ask.outputs(adapter, request)

    def _weighed(self, scores: Mapping[str, Mapping[str, float]]) -> None:
        asked = SCOPE.get().weighed
        if asked is not None:
            asked[id(self.inputs)] = scores


def _as_dictionaries(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [one for message in messages for one in to_dictionaries(message)]


def model(lm: Any, app: App) -> LM:
    """That LM, or the settings'. Raises ConfigurationError if there is none, or it is no LM."""
    found = lm or app.settings.lm
    if isinstance(found, LM):
        return found
    if found is None:
        raise ConfigurationError("No LM is loaded: dspex.configure(lm=dspex.LM('provider/model')), or pass lm= here.")
    hint = f" Write dspex.LM({found!r})." if isinstance(found, str) else ""
    raise ConfigurationError(f"An LM is a dspex.LM, or a subclass of dspex.BaseLM, not {found!r:.80}.{hint}")


def chosen_for(
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
    schema, _ = schema_for(chosen.adapter, plan.compiled, capabilities, (*params, *plan.params))
    reason = f"{chosen.reason}; natively: {plan.words}"
    return msgspec.structs.replace(chosen, schema=schema, reason=reason), plan


def _params(
    adapter: Any, compiled: Any, capabilities: Capabilities, config: Mapping[str, Any], lm: LM
) -> Mapping[str, Any]:
    form = getattr(adapter, "params", None)
    if form is None and not config:
        return config
    params = {**form(compiled, capabilities), **config} if form else config
    n = params.get("n") or 1
    if isinstance(n, int) and n > 1 and params.get("temperature", lm.kwargs.get("temperature")) is None:
        # n equal answers at the model's greedy setting would be n times the price of one.
        return {**params, "temperature": SAMPLING_TEMPERATURE}
    return params
