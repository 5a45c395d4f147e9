"""One prediction's way through adapter and model, with further calls for a reply that does not parse."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from dspex.app.lm import LM
from dspex.app.openai_form import asked, completions
from dspex.core.errors import AdapterParseError
from dspex.core.messages import Choice, LMDelta, LMRequest, LMResponse
from dspex.core.usage import Usage
from dspex.program.adapters.base import unreadable
from dspex.program.adapters.choice import reask_adapter, schema_for
from dspex.program.compiled import CompiledSignature
from dspex.program.reply_function import held, is_by_function, spoken, spoken_piece
from dspex.runtime.callbacks import Emission
from dspex.runtime.scope import use
from dspex.service.ledger import estimated_usage
from dspex.service.pieces import MANY, drawn_together, whole

if TYPE_CHECKING:
    from dspex.program.native import NativePlan

STOPPED = "stopped"  # the finish_reason of a reply that was given up while it came
ENDED_EARLY = frozenset({"length", STOPPED})

# Reads a reply's choices again, with the biases: (what parses a text, the reply, what was read) -> what holds.
Decide = Callable[[Callable[[str], dict[str, Any]], Choice, dict[str, Any]], dict[str, Any]]


def read_at_once(adapter: Any, compiled: CompiledSignature, reply: LMResponse) -> list[dict[str, Any]] | None:
    """The fields of each completion where all are whole and parse, as nearly always; None: `Ask.read` is to see to it."""
    outputs: list[dict[str, Any]] = []
    for choice in reply.choices:
        if choice.finish_reason in ENDED_EARLY:
            return None
        try:
            outputs.append(adapter.parse(compiled, choice.text))
        except AdapterParseError:
            return None
    return outputs


class Ask:
    """One prediction's way through adapter and model; `hearing` is told of replies while they come."""

    __slots__ = ("callbacks", "compiled", "decide", "hearing", "lm", "plan", "reasks", "signature", "spent", "stopped")

    def __init__(
        self, lm: LM, signature: Any, callbacks: Sequence[Any], reasks: int, plan: "NativePlan | None" = None
    ) -> None:
        self.lm = lm
        self.plan = plan
        self.compiled: CompiledSignature = signature.compiled if plan is None else plan.compiled
        self.signature = signature
        self.callbacks = callbacks
        self.reasks = reasks
        self.decide: Decide | None = None
        self.hearing: Any = None
        self.stopped: AdapterParseError | None = None  # why the last reply was given up while it came
        self.spent: list[Usage] = []

    async def told(
        self,
        kind: str,
        adapter: Any,
        inputs: Any,
        work: Callable[[], Any],
        shown: Callable[[Any], Any] = lambda made: made,
    ) -> Any:
        """Run one step of an adapter with its callbacks around it, which see what `shown` makes of its result."""
        callbacks = self._told_of_adapter(adapter)
        if not callbacks:
            return work()
        async with Emission(callbacks, kind, adapter, {"signature": self.signature, **inputs}) as emission:
            made = work()
            emission.outputs = shown(made)
        return made

    def _told_of_adapter(self, adapter: Any) -> Sequence[Any]:
        own = getattr(adapter, "callbacks", None)
        return [*self.callbacks, *own] if own else self.callbacks

    async def outputs(self, adapter: Any, request: LMRequest) -> list[dict[str, Any]]:
        """The fields of each completion; one that does not parse is asked for again."""
        return await self.read(adapter, request, await self._reply(adapter, request))

    async def read(self, adapter: Any, request: LMRequest, reply: LMResponse) -> list[dict[str, Any]]:
        """As `outputs`, of a reply that has come."""
        reply = self._took(request, reply)
        outputs = []
        for choice in reply.choices:
            try:
                outputs.append(await self.parsed(adapter, choice))
            except AdapterParseError as error:
                await self.lm.forget(request)
                outputs.append(await self.asked_again(adapter, request, choice, error))
        if self.hearing is not None:
            await self.hearing.settle(outputs[0])
        return outputs

    async def asked_again(
        self, adapter: Any, request: LMRequest, choice: Choice, error: AdapterParseError
    ) -> dict[str, Any]:
        """Further calls that show the model its reply and the fault. Raises the last error, with all that was spent."""
        for _ in range(self.reasks):
            second = self.second(adapter, error)
            if second is None or error.reason == "length":
                break
            request = self.reask(adapter, second, request, choice, error)
            choice = self._took(request, await self._reply(second, request)).choices[0]
            try:
                return await self.parsed_again(adapter, second, choice)
            except AdapterParseError as fault:
                await self.lm.forget(request)
                fault.add_note(f"It was asked for again after this: {error}")
                error = fault
        error.signature = self.signature
        error.usage = sum(self.spent, error.usage or Usage())  # what an adapter's own calls took, and ours
        raise error

    async def parsed_again(self, adapter: Any, second: Any, choice: Choice) -> dict[str, Any]:
        """Typed fields of a further reply, which may keep to the form that the whole conversation has shown."""
        try:
            return await self.parsed(second, choice)
        except AdapterParseError as error:
            if second is adapter or error.reason == "length" or choice.finish_reason == STOPPED:
                raise
            try:
                return await self.parsed(adapter, choice)
            except AdapterParseError as fault:
                if fault.reason == "value" and error.field is None:  # it kept to the first form, and a value is wrong
                    raise
            raise  # the fault in the form that was asked for

    def second(self, adapter: Any, error: AdapterParseError) -> Any | None:
        """The adapter of one more call: calls that cannot be read are no fault of the text's form."""
        if self.plan is not None and self.plan.is_of_calls(error):
            return adapter
        return reask_adapter(adapter, self.lm.capabilities)

    def reask(
        self, adapter: Any, second: Any, request: LMRequest, choice: Choice, error: AdapterParseError
    ) -> LMRequest:
        """The request for one more reply, in the form of `second`."""
        compiled, plan = self.compiled, self.plan
        turns = second.reask(compiled, choice.text, error) if plan is None else plan.reask(second, choice, error)
        messages = request.messages + turns
        params = request.params if second is adapter else _without_form(request.params)
        capabilities = self.lm.capabilities
        schema, _ = schema_for(second, compiled, capabilities, (*params, *(plan.params if plan else ())))
        return held(msgspec.structs.replace(request, messages=messages, params=params, n=1), schema, capabilities)

    def _took(self, request: LMRequest, reply: LMResponse) -> LMResponse:
        """The reply as it is read, when what it cost is noted."""
        if reply.usage is not None:
            self.spent.append(reply.usage)
        return spoken(request, reply)

    async def _told_of(self, adapter: Any, request: LMRequest) -> LMResponse:
        callbacks = [*self.callbacks, *self.lm.callbacks]
        async with Emission(callbacks, "lm", self.lm, asked(request)) as emission:
            reply = await self._asked_of(adapter, request)
            emission.outputs = completions(reply)
        return reply

    def _reply(self, adapter: Any, request: LMRequest) -> Awaitable[LMResponse]:
        """The model's reply, with callbacks around it."""
        is_told = self.callbacks or self.lm.callbacks
        return self._told_of(adapter, request) if is_told else self._asked_of(adapter, request)

    def _asked_of(self, adapter: Any, request: LMRequest) -> Awaitable[LMResponse]:
        return self.lm.complete(request) if self.hearing is None else self._heard(adapter, request)

    async def _heard(self, adapter: Any, request: LMRequest) -> LMResponse:
        self.hearing.begin(adapter, self.compiled)
        if request.n > 1 or self.decide is not None:  # pieces are of one completion, and have no log-probabilities
            return await self.lm.complete(request)
        reasoning, calls = (None, None) if self.plan is None else (self.plan.reasoning, self.plan.calls)
        is_spoken = is_by_function(request)
        pieces: list[LMDelta] = []
        hearing, kept = self.hearing, 0
        async with aclosing(self.lm.stream(request)) as deltas:
            async for delta in deltas:
                pieces.append(delta)
                if len(pieces) - kept >= MANY:
                    kept = drawn_together(pieces, kept)
                if hearing.hear(spoken_piece(delta) if is_spoken else delta, reasoning, calls):
                    await hearing.room()
                if hearing.fault is not None:
                    break
        reply = whole(pieces)
        return reply if hearing.fault is None else self._given_up(adapter, request, reply, hearing.fault)

    def _given_up(self, adapter: Any, request: LMRequest, reply: LMResponse, fault: tuple[str, str]) -> LMResponse:
        """What came of a reply that cannot be read whatever comes next."""
        name, why = fault
        error = AdapterParseError(f"field `{name}`: {why}; the rest was not waited for", field=name, reason="value")
        self.stopped = unreadable(adapter, self.compiled, reply.text, error)
        self.stopped.__cause__ = error
        choice = msgspec.structs.replace(reply.choices[0], finish_reason=STOPPED)
        usage = reply.usage or msgspec.structs.replace(estimated_usage(request, reply.text), calls=1)
        return msgspec.structs.replace(reply, choices=(choice,), usage=usage)

    async def parsed(self, adapter: Any, choice: Choice) -> dict[str, Any]:
        """Typed fields of one completion."""
        if choice.finish_reason in ENDED_EARLY:
            self._refuse(adapter, choice)
        if self.plan is not None:
            return await self.plan.read(choice, lambda: self._parsed(adapter, choice))
        return await self._parsed(adapter, choice)

    def _refuse(self, adapter: Any, choice: Choice) -> None:
        """Raise what is wrong with a reply that was cut or given up, if it is not whole all the same."""
        if choice.finish_reason == STOPPED and self.stopped is not None:
            raise self.stopped
        if choice.finish_reason == "length" and not _is_complete(adapter, self.compiled, choice.text):
            raise AdapterParseError(
                "The reply was cut by max_tokens before it was complete; raise max_tokens.",
                adapter_name=type(adapter).__name__,
                signature=self.signature,
                lm_response=choice.text,
                reason="length",
            )

    async def _parsed(self, adapter: Any, choice: Choice) -> dict[str, Any]:
        compiled, text = self.compiled, choice.text
        aparse = getattr(adapter, "aparse", None)
        if aparse is None:
            found: dict[str, Any]
            found = await self.told(
                "adapter_parse", adapter, {"completion": text}, lambda: adapter.parse(compiled, text)
            )
            return self.decide(lambda other: adapter.parse(compiled, other), choice, found) if self.decide else found
        told = {"signature": self.signature, "completion": text}
        with use(listener=self.hearing):  # what the adapter asks for is heard as this predictor's
            async with Emission(self._told_of_adapter(adapter), "adapter_parse", adapter, told) as emission:
                emission.outputs = await aparse(compiled, text)
        return emission.outputs  # type: ignore[no-any-return]  # it was set just above


def _is_complete(adapter: Any, compiled: Any, text: str) -> bool:
    known = getattr(adapter, "is_complete", None)
    return known is not None and bool(known(compiled, text))


def _without_form(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in ("stop", "grammar")}
