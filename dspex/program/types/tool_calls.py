"""ToolCalls: what a model asks to be called, and ToolCallResults: what came of it."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import msgspec

from dspex.app.app import current_app
from dspex.core.errors import ToolError, ToolInputError
from dspex.core.identity import plain
from dspex.core.messages import Thought
from dspex.program.json_text import read_json
from dspex.program.types.base import Type
from dspex.program.types.tool import Tool, tool_named, tools_by_name
from dspex.program.values import render

_ARGUMENTS = ("args", "arguments", "parameters", "input")  # where models are used to write them


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call: the tool's name, its arguments by name, and the provider's id where there is one."""

    name: str
    args: Mapping[str, Any] = {}
    id: str | None = None

    def format(self) -> dict[str, Any]:
        """As a prompt shows it: without the id."""
        return {"name": self.name, "args": self.args}

    def execute(self, functions: Any = None) -> Any:
        """Call the tool of that name among `functions`, a list of tools or callables or a dict of them.

        Raises ToolInputError where there is none, or the arguments do not fit; ToolError where it fails.
        """
        return tool_named(self.name, _given(functions))(**self.args)

    async def aexecute(self, functions: Any = None) -> Any:
        """As `execute`."""
        return await tool_named(self.name, _given(functions)).acall(**self.args)


_Call = ToolCall  # in ToolCalls the name is an attribute, which no annotation there may mean


class ToolCallResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one call gave; of a failed one the error's message."""

    name: str
    value: Any
    call_id: str | None = None
    is_error: bool = False

    @property
    def text(self) -> str:
        """The value as a model reads it."""
        return render(self.value)


_Result = ToolCallResult


class ToolCallResults(Type):
    """Results in the order of their calls."""

    readable: ClassVar[bool] = False
    ToolCallResult: ClassVar[type[_Result]] = ToolCallResult

    tool_call_results: Sequence[_Result] = []

    @classmethod
    def from_tool_calls_and_values(
        cls,
        tool_calls: "ToolCalls | Iterable[ToolCall]",
        values: Iterable[Any],
        is_errors: Iterable[bool] | None = None,
    ) -> Self:
        """A value for each call, and whether it is an error. Raises ValueError if there are more of one than the other."""
        calls = tool_calls.tool_calls if isinstance(tool_calls, ToolCalls) else tuple(tool_calls)
        values = tuple(values)
        failed = (False,) * len(calls) if is_errors is None else tuple(is_errors)
        if not len(calls) == len(values) == len(failed):
            raise ValueError(f"There are {len(calls)} calls, {len(values)} values and {len(failed)} marks of errors.")
        rows = zip(calls, values, failed, strict=True)
        return cls(tool_call_results=tuple(_Result(call.name, value, call.id, bad) for call, value, bad in rows))

    def format(self) -> dict[str, Any]:
        """As a prompt shows it: names and values, without ids."""
        rows = self.tool_call_results
        shown = [{"name": r.name, "value": r.value, **({"is_error": True} if r.is_error else {})} for r in rows]
        return {"tool_call_results": shown}

    def __iter__(self) -> Any:
        return iter(self.tool_call_results)

    def __len__(self) -> int:
        return len(self.tool_call_results)


class ToolCalls(Type):
    """The calls that a model asks for, in order; as an output it is filled natively where the provider calls functions.

    `tool_call_results` may keep what came of them, for a History; `thoughts` are what the provider wants back with them.
    """

    goes_natively: ClassVar[bool] = True
    ToolCall: ClassVar[type[_Call]] = ToolCall

    tool_calls: Sequence[_Call] = []
    tool_call_results: ToolCallResults | None = None
    thoughts: tuple[Thought, ...] = ()

    @classmethod
    def from_dict_list(cls, tool_calls_dicts: Iterable[Mapping[str, Any]]) -> Self:
        """Calls out of dictionaries of name and args. Raises ValueError for one that is no call."""
        return cls(tool_calls=_calls(tuple(tool_calls_dicts)))

    @classmethod
    def from_plain(cls, data: Any) -> Self:
        """Calls out of JSON data: our own form, a list of calls, or one call. Raises ValueError."""
        if isinstance(data, cls):
            return data
        if isinstance(data, str):
            return cls.parse(data)
        if isinstance(data, Mapping) and "tool_calls" in data:
            results = data.get("tool_call_results")
            kept = None if results is None else ToolCallResults.from_plain(results)
            calls = _calls(data["tool_calls"] or [])
            return cls(tool_calls=calls, tool_call_results=kept, thoughts=data.get("thoughts", ()))
        return cls(tool_calls=_calls(data))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Calls out of a text with JSON in it. Raises ValueError."""
        data = read_json(text)
        return cls(tool_calls=_calls(data)) if isinstance(data, str) else cls.from_plain(data)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The JSON schema of the form that a model is asked for."""
        fields = {"name": {"type": "string"}, "args": {"type": "object"}}
        call = {"type": "object", "properties": fields, "required": ["name", "args"]}
        calls = {"type": "array", "items": call}
        return {"type": "object", "properties": {"tool_calls": calls}, "required": ["tool_calls"]}

    def format(self) -> dict[str, Any]:
        """As a prompt shows them: names and arguments, without ids and results."""
        return {"tool_calls": [call.format() for call in self.tool_calls]}

    def toDict(self) -> dict[str, Any]:  # noqa: N802  DSPy's name
        """All of it as JSON data."""
        results = self.tool_call_results
        kept = {} if results is None else {"tool_call_results": results.toDict()}
        thoughts = {"thoughts": msgspec.to_builtins(self.thoughts)} if self.thoughts else {}
        return {"tool_calls": [plain(call) for call in self.tool_calls], **kept, **thoughts}

    def execute(self, functions: Any) -> ToolCallResults:
        """Run all calls, side by side; one that fails is a result with `is_error`, and stops no other."""
        return current_app().bridge.run(self.aexecute(functions))

    async def aexecute(self, functions: Any) -> ToolCallResults:
        """As `execute`. Only what no tool can mend is raised, as BudgetExceeded, when all have ended."""
        tools = _given(functions)
        outcomes: Sequence[Any] = await asyncio.gather(
            *(call.aexecute(tools) for call in self.tool_calls), return_exceptions=True
        )
        failed = [isinstance(outcome, BaseException) for outcome in outcomes]
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, ToolError):
                raise outcome
        values = [str(outcome) if bad else outcome for outcome, bad in zip(outcomes, failed, strict=True)]
        return ToolCallResults.from_tool_calls_and_values(self, values, failed)

    def __iter__(self) -> Any:
        return iter(self.tool_calls)

    def __len__(self) -> int:
        return len(self.tool_calls)


def _given(functions: Any) -> dict[str, Tool]:
    if functions is None:
        raise ToolInputError(
            "Name the tools that may be called: execute(functions=[...]). None is searched for elsewhere."
        )
    return tools_by_name(functions)


def _calls(given: Any) -> tuple[ToolCall, ...]:
    return tuple(map(_call, given if isinstance(given, (list, tuple)) else (given,)))


def _call(given: Any) -> ToolCall:
    if isinstance(given, ToolCall):
        return given
    if not isinstance(given, Mapping):
        raise ValueError(f"a tool call is an object with name and args, not {type(given).__name__}")  # noqa: TRY004
    inner = given.get("function", given)
    name = inner.get("name") if isinstance(inner, Mapping) else inner
    if not isinstance(name, str) or not name:
        raise ValueError("a tool call has no name")
    place = inner if isinstance(inner, Mapping) else given
    args: Any = next((place[word] for word in _ARGUMENTS if place.get(word) is not None), {})
    args = read_arguments(args) if isinstance(args, str) else args
    if not isinstance(args, Mapping):
        raise ValueError(f"the arguments of {name!r:.80} are {type(args).__name__}, not an object")  # noqa: TRY004
    id_ = given.get("id")
    return ToolCall(name, dict(args), id_ if isinstance(id_, str) else None)


def read_arguments(text: str) -> dict[str, Any]:
    """A call's arguments out of JSON text; an empty one is no arguments. Raises ValueError."""
    args = read_json(text) if text.strip() else {}
    if not isinstance(args, dict):
        raise ValueError("the arguments are no JSON object")  # noqa: TRY004  the text is at fault, no caller
    return args
