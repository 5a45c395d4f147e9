"""What goes to a model beside the prompt: tools as the provider's functions, and what the model thought.

A plan is made once for a signature, an adapter's flags and what the model can do; the fields it takes leave the prompt.
"""

import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from dspex.core.endpoint import Capabilities
from dspex.core.errors import AdapterParseError
from dspex.core.messages import Choice, Message, Text, ToolCall, ToolResult
from dspex.program.adapters.base import NOT_GIVEN, sorted_demos, turns
from dspex.program.compiled import CompiledSignature, compile_signature
from dspex.program.fields import FieldInfo
from dspex.program.types import tool_calls
from dspex.program.types.history import History
from dspex.program.types.reasoning import Reasoning
from dspex.program.types.tool import Tool, tools_by_name
from dspex.program.types.tool_calls import ToolCallResults, ToolCalls
from dspex.program.values import is_optional, leaves, render

_KEY = "native"
_USE_TOOLS = "Call the tools that the task needs."
_CALL_AGAIN = "Call the tool again; its arguments are one JSON object of its schema."
_NOT_SHOWN = "(not shown)"
_CAME = "What came of the calls:"


class NativePlan(msgspec.Struct, frozen=True, eq=False):
    """How a signature is asked of one kind of model: `whole` is the user's, `compiled` what the prompt says.

    `tools`, `calls` and `reasoning` are the fields that travel beside it; `called` is that of calls in any form.
    """

    whole: CompiledSignature
    compiled: CompiledSignature
    tools: FieldInfo | None = None
    calls: FieldInfo | None = None
    reasoning: FieldInfo | None = None
    called: FieldInfo | None = None

    @property
    def words(self) -> str:
        """The fields that travel beside the prompt."""
        named = (self.tools, self.calls, self.reasoning)
        return ", ".join(field.name for field in named if field is not None)

    @property
    def params(self) -> tuple[str, ...]:
        """What a request has by it, by the names of parameters."""
        return ("tools",) if self.tools is not None else ()

    # What is asked

    def definitions(self, inputs: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        """The tools of a call in OpenAI's form. Raises ConfigurationError where two bear one name."""
        tools = tools_by_name(inputs.get(self.tools.name)) if self.tools else {}
        return tuple({"type": "function", "function": tool.definition} for tool in tools.values())

    def render(self, adapter: Any, demos: Sequence[Any], inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        """The adapter's messages; what demos and earlier turns called, and what came of it, are turns of their own."""
        history = self.compiled.history
        earlier = None if history is None else inputs.get(history)
        has_calls = any(map(self._has_calls, demos))
        if earlier is None and not has_calls:
            return self._rendered(adapter, demos, inputs)
        alone = inputs if history is None else {**inputs, history: None}
        *first, last = self._rendered(adapter, () if has_calls else demos, alone)
        if not first:  # a form without turns
            return self._rendered(adapter, demos, inputs)
        for number, (demo, _) in enumerate(sorted_demos(self.whole, demos) if has_calls else ()):
            first += self._with_calls(self._demo(adapter, demo, alone), demo, f"example_{number}")
        first += self._earlier(adapter, earlier, inputs)
        return (*first, last) if last.parts != (Text(""),) else tuple(first)

    def _rendered(self, adapter: Any, demos: Sequence[Any], inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        rendered: tuple[Message, ...] = adapter.render(self.compiled, demos, inputs)
        return rendered

    def _has_calls(self, record: Any) -> bool:
        return self.calls is not None and bool(record.get(self.calls.name))

    def _demo(self, adapter: Any, demo: Any, inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        """What a demo's text has: a demo of calls may have no other output."""
        absent = {field.name: NOT_GIVEN for field in self.compiled.outputs if demo.get(field.name) is None}
        rendered = self._rendered(adapter, ({**dict(demo.items()), **absent},), inputs)
        pair = rendered[-3:-1] if len(rendered) > 2 else ()
        return pair if len(absent) < len(self.compiled.outputs) else pair[:1]

    def _earlier(self, adapter: Any, earlier: Any, inputs: Mapping[str, Any]) -> Iterator[Message]:
        """Earlier turns; those of a conversation that only grows are not made again."""
        kept: dict[int, Sequence[Message]] = getattr(earlier, "kept", {})
        for number, turn in enumerate(History.from_plain(earlier).messages if earlier is not None else ()):
            key = id(turn.get(self.called.name)) if number and self.called else 0
            shown = kept.get(key)
            if shown is None:
                shown = self._with_calls(self._turn(adapter, turn, inputs), turn, f"turn_{number}", own_ids=True)
                kept.update({key: shown} if key else {})
            yield from shown

    def _turn(self, adapter: Any, turn: Mapping[str, Any], inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        """What an earlier turn's text has; one of calls may have none."""
        history = self.compiled.history
        if history is None or all(turn.get(name) is None for name in self.compiled.fields):
            return ()
        return self._rendered(adapter, (), {**inputs, history: History([turn])})[1:-1]

    def _with_calls(
        self, shown: Sequence[Message], record: Any, prefix: str, *, own_ids: bool = False
    ) -> list[Message]:
        """What a record's text has, and its calls; demos come from other runs, whose ids may be the same, and without thoughts."""
        called = record.get(self.called.name) if self.called else None
        calls = ToolCalls.from_plain(called) if called else ToolCalls()
        given = record.get("tool_call_results") or calls.tool_call_results
        results = None if given is None else ToolCallResults.from_plain(given)
        if self.calls is None:  # they stand in the text
            told = "" if results is None else render(results.format()["tool_call_results"])
            return [*shown, Message.of("user", f"{_CAME}\n{told}")] if told else [*shown]
        if not calls:
            return [*shown]
        ids = [(own_ids and call.id) or f"{prefix}_{place}" for place, call in enumerate(calls)]
        parts = [ToolCall(id_, call.name, render(call.args)) for id_, call in zip(ids, calls, strict=True)]
        said = [part for message in shown if message.role == "assistant" for part in message.parts]
        asked = [message for message in shown if message.role != "assistant" and message.parts != (Text(""),)]
        came = tuple(
            _result(id_, call, place, results) for place, (id_, call) in enumerate(zip(ids, calls, strict=True))
        )
        thoughts = calls.thoughts if own_ids else ()
        return [*asked, Message("assistant", (*thoughts, *said, *parts)), Message("tool", came)]

    # What came

    async def read(self, choice: Choice, parse: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Typed values of all outputs; `parse` reads those in the text, where a call stands beside them they may lack.

        Raises AdapterParseError; its `field` is that of the calls where it is they that cannot be read.
        """
        values: dict[str, Any] = {field.name: field.absent() for field in self.compiled.outputs}
        if self.calls is not None:
            values[self.calls.name] = self._read_calls(self.calls, choice)
        if self.reasoning is not None:
            values[self.reasoning.name] = self.reasoning.convert(choice.reasoning or "")
        if self.compiled.outputs and not (choice.tool_calls and not choice.text.strip()):
            try:
                values |= await parse()
            except AdapterParseError as error:
                if not choice.tool_calls:
                    raise
                values |= error.parsed_result or {}
        return {field.name: values[field.name] for field in self.whole.outputs}

    def _read_calls(self, field: FieldInfo, choice: Choice) -> ToolCalls | None:
        found: dict[str, tool_calls.ToolCall] = {}
        for place, call in enumerate(choice.tool_calls):
            id_ = call.id if call.id and call.id not in found else f"{call.id or 'call'}_{place}"
            try:
                found[id_] = tool_calls.ToolCall(call.name, tool_calls.read_arguments(call.arguments), id_)
            except ValueError as error:
                raise AdapterParseError(
                    f"The reply calls {call.name!r:.80} with arguments that cannot be read: {error}. "
                    f"They were: {call.arguments!r:.200}",
                    signature=self.whole,
                    lm_response=said(choice),
                    field=field.name,
                    reason="length" if choice.finish_reason == "length" else None,
                ) from error
        if not found and is_optional(field.annotation):
            return None
        return ToolCalls(tool_calls=[*found.values()], thoughts=choice.thoughts)

    def is_of_calls(self, error: AdapterParseError) -> bool:
        """Whether it is the calls that cannot be read: the model is told so whatever form its text has."""
        return self.calls is not None and error.field == self.calls.name

    def reask(self, adapter: Any, choice: Choice, error: AdapterParseError) -> tuple[Message, ...]:
        """The turns of one more call: about the calls as text, for no provider takes broken arguments back."""
        if self.is_of_calls(error):
            return turns(said(choice), error, _CALL_AGAIN)
        again: tuple[Message, ...] = adapter.reask(self.compiled, choice.text, error)
        return again


def said(choice: Choice) -> str:
    """A reply as text, with the calls in it."""
    return "\n".join([choice.text, *(f"{call.name}({call.arguments})" for call in choice.tool_calls)]).strip()


def native_plan(compiled: CompiledSignature, adapter: Any, capabilities: Capabilities) -> NativePlan | None:
    """The plan for a signature, or None where all of it stands in the prompt.

    Tools go natively where the adapter's `use_native_function_calling` is True, unless the model is known to have none
    (a RuntimeWarning then), or None and the model is known to have them. A Reasoning output does where the adapter's
    `native_response_types` has the type, or is None and the model is known to reason.
    """
    plans: Any = compiled.templates.get(_KEY)
    if plans is None:
        plans = compiled.templates[_KEY] = {} if _native_fields(compiled) else False
    if plans is False:
        return None
    types = getattr(adapter, "native_response_types", None)
    wants_tools = getattr(adapter, "use_native_function_calling", False)
    wants_reasoning = None if types is None else Reasoning in types
    key = wants_tools, wants_reasoning, capabilities.tools, capabilities.reasoning
    if key not in plans:
        plans[key] = _made(
            compiled,
            has_tools=_goes(wants_tools, capabilities.tools, "tools", compiled),
            has_reasoning=_goes(wants_reasoning, capabilities.reasoning, "reasoning", compiled),
        )
    plan: NativePlan | None = plans[key]
    return plan


def _goes(wanted: bool | None, can: bool | None, what: str, compiled: CompiledSignature) -> bool:
    if wanted and can is False:
        warnings.warn(
            f"`{compiled.text}`: the model has no native {what}, so they are asked for in text.",
            RuntimeWarning,
            stacklevel=2,
        )
    return bool(can) if wanted is None else wanted and can is not False


def _native_fields(compiled: CompiledSignature) -> dict[str, FieldInfo]:
    tools, calls = _first(compiled.inputs, Tool), _first(compiled.outputs, ToolCalls)
    reasoning = _first(compiled.outputs, Reasoning)
    found = {"reasoning": reasoning} if reasoning else {}
    if calls is not None and (tools is not None or compiled.history is not None):
        found["called"] = calls
    return {**found, "tools": tools, "calls": calls} if tools is not None and calls is not None else found


def _first(fields: Sequence[FieldInfo], kind: type) -> FieldInfo | None:
    return next((field for field in fields if kind in leaves(field.annotation)), None)


def _made(compiled: CompiledSignature, *, has_tools: bool, has_reasoning: bool) -> NativePlan | None:
    found = _native_fields(compiled)
    goes = {"tools": has_tools, "calls": has_tools, "reasoning": has_reasoning, "called": True}
    wanted = {name: field for name, field in found.items() if goes[name]}
    taken = {field.name for name, field in wanted.items() if name != "called"}
    if not taken:
        # Calls in text need a plan only for what came of them in earlier turns.
        return NativePlan(compiled, compiled, **wanted) if wanted and compiled.history else None
    kept = [field for field in compiled.fields.values() if field.name not in taken]
    instructions = compiled.given_instructions
    if instructions is None and "tools" in wanted:
        is_left = any(field.role == "output" for field in kept)
        instructions = f"{compile_signature(kept, None).instructions} {_USE_TOOLS}" if is_left else _USE_TOOLS
    return NativePlan(compiled, compile_signature(kept, instructions), **wanted)


def _result(id_: str, call: tool_calls.ToolCall, place: int, results: ToolCallResults | None) -> ToolResult:
    """What came of a call, as far as it is known; a provider wants a result for every call."""
    rows = results.tool_call_results if results is not None else ()
    found = next((row for row in rows if row.call_id is not None and row.call_id == call.id), None)
    if found is None and place < len(rows) and rows[place].call_id is None:
        found = rows[place]
    return ToolResult(id_, _NOT_SHOWN) if found is None else ToolResult(id_, found.text, found.is_error)
