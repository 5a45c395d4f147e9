"""What goes to a model beside the prompt: tools as the provider's functions, and what the model thought.

A plan is made once for a signature, an adapter's flags and what the model can do; the fields it takes leave the prompt.
"""

import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from dspex.core.endpoint import Capabilities
from dspex.core.errors import AdapterParseError
from dspex.core.messages import Choice, Message, ToolCall, ToolResult
from dspex.program.adapters.base import NOT_GIVEN, sorted_demos, turns
from dspex.program.compiled import CompiledSignature, compile_signature
from dspex.program.fields import FieldInfo
from dspex.program.types import tool_calls
from dspex.program.types.history import History
from dspex.program.types.reasoning import Reasoning
from dspex.program.types.tool import Tool, tools_by_name
from dspex.program.types.tool_calls import ToolCalls
from dspex.program.values import is_optional, leaves, render

_KEY = "native"
_USE_TOOLS = "Call the tools that the task needs."
_CALL_AGAIN = "Call the tool again; its arguments are one JSON object of its schema."
_NOT_SHOWN = "(not shown)"


class NativePlan(msgspec.Struct, frozen=True, eq=False):
    """How a signature is asked of one kind of model: `whole` is the user's, `compiled` what the prompt says."""

    whole: CompiledSignature
    compiled: CompiledSignature
    tools: FieldInfo | None = None
    calls: FieldInfo | None = None
    reasoning: FieldInfo | None = None
    history: FieldInfo | None = None

    @property
    def words(self) -> str:
        """The fields that travel beside the prompt."""
        named = (self.tools, self.calls, self.reasoning)
        return ", ".join(field.name for field in named if field is not None)

    # What is asked

    def definitions(self, inputs: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        """The tools of a call in OpenAI's form. Raises ConfigurationError where two bear one name."""
        tools = tools_by_name(inputs.get(self.tools.name)) if self.tools else {}
        return tuple({"type": "function", "function": tool.definition} for tool in tools.values())

    def render(self, adapter: Any, demos: Sequence[Any], inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        """The adapter's messages; what demos and earlier turns called stands there as the provider's own turns."""
        earlier = inputs.get(self.history.name) if self.history else None
        if earlier is None and not any(map(self._has_calls, demos)):
            rendered: tuple[Message, ...] = adapter.render(self.compiled, demos, inputs)
            return rendered
        *first, last = adapter.render(self.compiled, (), inputs)
        shown = [demo for demo, _ in sorted_demos(self.whole, demos)]
        for number, record in enumerate(shown):
            first += self._turns(adapter, record, inputs, f"example_{number}")
        for number, record in enumerate(History.from_plain(earlier).messages if earlier is not None else ()):
            given = {field.name: NOT_GIVEN for field in self.compiled.inputs}
            asked, *answered = self._turns(adapter, {**given, **record}, inputs, f"turn_{number}")
            first += [asked, *answered] if given.keys() & record.keys() else answered
        return (*first, last)

    def _has_calls(self, record: Any) -> bool:
        return self.calls is not None and bool(record.get(self.calls.name))

    def _turns(self, adapter: Any, record: Any, inputs: Mapping[str, Any], prefix: str) -> list[Message]:
        """A record as what was asked, what was answered and called, and what came of the calls."""
        filled = dict(record.items())
        answered = [one.name for one in self.compiled.outputs if filled.get(one.name) is not None]
        filled |= {one.name: NOT_GIVEN for one in self.compiled.outputs if one.name not in answered}
        rendered = adapter.render(self.compiled, (filled,), inputs)
        pair = rendered[-3:-1]
        if len(rendered) < 3:  # nothing that a prompt would show
            return []
        calls = ToolCalls.from_plain(filled[self.calls.name]) if self.calls and self._has_calls(filled) else ToolCalls()
        ids = [call.id or f"{prefix}_{place}" for place, call in enumerate(calls)]
        asked = [ToolCall(id_, call.name, render(call.args)) for id_, call in zip(ids, calls, strict=True)]
        said = pair[1].parts if answered else ()
        results = _results(calls, record.get("tool_call_results"), ids)
        return [
            pair[0],
            *([Message("assistant", (*said, *asked))] if said or asked else []),
            *([Message("tool", results)] if results else []),
        ]

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
        found = []
        for call in choice.tool_calls:
            try:
                found.append(tool_calls.ToolCall(call.name, tool_calls.read_arguments(call.arguments), call.id))
            except ValueError as error:
                raise AdapterParseError(
                    f"The reply calls {call.name!r:.80} with arguments that cannot be read: {error}. "
                    f"They were: {call.arguments!r:.200}",
                    signature=self.whole,
                    lm_response=said(choice),
                    field=field.name,
                    reason="length" if choice.finish_reason == "length" else None,
                ) from error
        return ToolCalls(tool_calls=found) if found or not is_optional(field.annotation) else None

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
    found = {
        "tools": _first(compiled.inputs, Tool),
        "calls": _first(compiled.outputs, ToolCalls),
        "reasoning": _first(compiled.outputs, Reasoning),
    }
    if not (found["tools"] and found["calls"]):
        found["tools"] = found["calls"] = None
    return {name: field for name, field in found.items() if field is not None}


def _first(fields: Sequence[FieldInfo], kind: type) -> FieldInfo | None:
    return next((field for field in fields if kind in leaves(field.annotation)), None)


def _made(compiled: CompiledSignature, *, has_tools: bool, has_reasoning: bool) -> NativePlan | None:
    found = _native_fields(compiled)
    wanted = {name: field for name, field in found.items() if (has_reasoning if name == "reasoning" else has_tools)}
    if not wanted:
        return None
    history = _first(compiled.inputs, History)
    if "tools" in wanted and history is not None:
        wanted["history"] = history
    taken = {field.name for field in wanted.values()}
    kept = [field for field in compiled.fields.values() if field.name not in taken]
    instructions = compiled.given_instructions
    if instructions is None and "tools" in wanted:
        is_left = any(field.role == "output" for field in kept)
        instructions = f"{compile_signature(kept, None).instructions} {_USE_TOOLS}" if is_left else _USE_TOOLS
    return NativePlan(compiled, compile_signature(kept, instructions), **wanted)


def _results(calls: ToolCalls, apart: Any, ids: Sequence[str]) -> tuple[ToolResult, ...]:
    """What came of each call, as far as it is known; a provider wants a result for every call."""
    kept = apart if apart is not None else calls.tool_call_results
    rows = tool_calls.ToolCallResults.from_plain(kept).tool_call_results if kept is not None else ()
    by_id = {row.call_id: row for row in rows if row.call_id is not None}
    found = []
    for place, id_ in enumerate(ids):
        row = by_id.get(id_) or (rows[place] if place < len(rows) else None)
        found.append(ToolResult(id_, row.text, row.is_error) if row else ToolResult(id_, _NOT_SHOWN))
    return tuple(found)
