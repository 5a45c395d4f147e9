"""How an agent is asked for its next calls: in the text of a prompt, or as the provider's own functions.

Both are asked of the same predictor and leave the same trace, so an optimizer need not know which it was.
"""

import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Protocol

import msgspec

from dspex.app.app import current_app
from dspex.core.errors import ConfigurationError
from dspex.core.example import Prediction
from dspex.core.messages import Thought
from dspex.program.adapters.plain import PlainAdapter
from dspex.program.calling import model
from dspex.program.fields import InputField, OutputField
from dspex.program.signature import Signature, make_signature
from dspex.program.streaming.call_texts import FIRST_CALL
from dspex.program.tool_use import FINISH, Result
from dspex.program.trajectory import Trajectory, short
from dspex.program.types.history import History, Turns
from dspex.program.types.media import Image
from dspex.program.types.observed import Illustrated, text_of
from dspex.program.types.tool import Tool
from dspex.program.types.tool_calls import ToolCall, ToolCallResults, ToolCalls
from dspex.program.values import is_optional, render
from dspex.runtime.scope import SCOPE, use

TURNS, TOOLS = "turns_", "tools_"
_WORDS = ("lm", "config")
_PICTURES = "The pictures that the tools gave, in their order:"


class Turn(msgspec.Struct, frozen=True):
    """What the model wants to do next; without calls it is done.

    `fault` says what could not be read of its reply, `ends` why there is none and will be none. `thoughts` go back with the calls.
    """

    thought: str = ""
    calls: tuple[ToolCall, ...] = ()
    fault: str = ""
    ends: str = ""
    thoughts: tuple[Thought, ...] = ()


class Asker(Protocol):
    """One run's way to the model."""

    async def ask(self, trajectory: Trajectory) -> Turn:
        """The next turn. Raises AdapterParseError, LMError classes."""

    def told(self, turn: Turn, results: Sequence[Result], trajectory: Trajectory) -> None:
        """What came of a turn whose steps are about to be added."""

    def unread(self, note: str) -> None:
        """A reply could not be read, and what the model is told of that."""


async def asker(react: Any, given: Mapping[str, Any], tools: Mapping[str, Tool], native: bool | None) -> Asker:
    """The form that fits the model and the settings. Raises ConfigurationError for `native` where it cannot be."""
    adapter = await _native_adapter(react, given.get("lm"), native)
    return InText(react, given, tools) if adapter is None else Natively(react, given, tools, adapter)


async def _native_adapter(react: Any, lm: Any, wanted: bool | None) -> Any:
    """The adapter that sends tools as functions, None where the calls are written in text."""
    if wanted is False:
        return None
    needs = "a History among its inputs" if react.signature.compiled.history is not None else ""
    needs = needs or ("demos chosen for each call, or biases," if react.demo_selector or react.choice_bias else "")
    if needs:
        if wanted:
            raise ConfigurationError(f"An agent with {needs} is asked in text: leave out native=True.")
        return None
    asked = model(lm or react.lm, current_app())
    if asked.capabilities.chat is None:
        await asked.ready()
    adapter = react.adapter_choice(asked).adapter
    if wanted and isinstance(adapter, PlainAdapter):
        raise ConfigurationError(f"{asked!r} is asked in one text without turns, so its tools cannot be native.")
    flag = getattr(adapter, "use_native_function_calling", False)
    if current_app().settings.adapter is None and adapter.name == "chat":
        flag = None  # nobody has said that it should be in text
    if not (wanted or flag or (flag is None and asked.capabilities.tools)):
        return None
    adapter = copy.copy(adapter)
    adapter.use_native_function_calling = True
    return adapter


# In text


class InText:
    """The model reads the trajectory as a text, and names one tool and its arguments in fields."""

    def __init__(self, react: Any, given: Mapping[str, Any], tools: Mapping[str, Tool]) -> None:
        self._react = react
        self._given = given
        self._signature = _with_tools(react.signature, tools)

    async def ask(self, trajectory: Trajectory) -> Turn:
        """One call, always."""
        call = partial(self._react.acall, signature=self._signature)
        found = await asked_of(trajectory, call, self._react, self._given)
        return Turn(found.next_thought, (ToolCall(found.next_tool_name, found.next_tool_args),))

    def told(self, turn: Turn, results: Sequence[Result], trajectory: Trajectory) -> None:
        """The trajectory will have it all."""

    def unread(self, note: str) -> None:
        """As above."""


async def asked_of(
    trajectory: Trajectory, call: Callable[..., Awaitable[Any]], predict: Any, given: Mapping[str, Any]
) -> Any:
    """What a call gives for the trajectory, with the pictures in it where the model of its `predict` sees any."""
    texts = {**given, "trajectory": trajectory.text}
    pictures = trajectory.pictures
    if not pictures:
        return await call(**texts)
    trace, scope = SCOPE.get().trace, SCOPE.get()
    shown = _illustrated(trajectory.text, pictures, predict, given)
    with use(overlay={**scope.overlay, "warn_on_type_mismatch": False}, trace=None):
        found = await call(**{**texts, "trajectory": shown})
    if trace is not None:  # a demo is of texts
        trace.append((predict, {name: value for name, value in texts.items() if name not in _WORDS}, found))
    return found


def _illustrated(text: str | None, pictures: Sequence[Image], react: Any, given: Mapping[str, Any]) -> Any:
    """The text with the pictures that tools gave, where the model is known to see any."""
    asked = model(given.get("lm") or react.lm, current_app())
    return Illustrated(f"{text or ''}\n{_PICTURES}".lstrip(), pictures) if asked.capabilities.images else text


def _with_tools(signature: Any, tools: Mapping[str, Tool]) -> Any:
    """The signature with the tools in its instructions: told at each call, so that no rewritten prompt can lose them."""
    lines = [f"- `{name}`: {tool.desc}{_arguments(tool)}".replace("\n", "\n  ") for name, tool in tools.items()]
    text = "\n".join(["The tools:", *lines])
    kept = signature.compiled.templates
    if ("agent tools", text) not in kept:
        kept["agent tools", text] = signature.append_instructions(text)
    return kept["agent tools", text]


def _arguments(tool: Tool) -> str:
    return f"\narguments, as JSON schemas: {render(dict(tool.args))}" if tool.args else "\nno arguments"


# Natively


class Natively:
    """The model calls functions; its calls and their results are turns of a conversation, which begins with the inputs."""

    def __init__(self, react: Any, given: Mapping[str, Any], tools: Mapping[str, Tool], adapter: Any) -> None:
        self._react = react
        self._adapter = adapter
        self._tools = list(tools.values())
        self._signature = _with_calls(react.signature)
        self._words = {name: given[name] for name in _WORDS if name in given}
        inputs = {name: value for name, value in given.items() if name not in _WORDS}
        self._inputs = react.signature.compiled.check_inputs({**inputs, "trajectory": ""})
        self._turns: list[tuple[int, dict[str, Any]]] = []
        self._shown: dict[int, Any] = {}  # how each turn looks to the model
        self._note: str | None = None

    async def ask(self, trajectory: Trajectory) -> Turn:
        """Any number of calls."""
        first = {**self._inputs, "trajectory": "\n".join(trajectory.opening) or None}
        turns = [record for place, record in self._turns if place >= trajectory.first]
        if turns:
            turns[0] = {**first, **turns[0]}
            first = {**dict.fromkeys(self._inputs), "trajectory": None}
        if self._note is not None:
            first["trajectory"] = self._note
        if pictures := trajectory.pictures:
            first["trajectory"] = _illustrated(first["trajectory"], pictures, self._react, self._words)
        trace, scope = SCOPE.get().trace, SCOPE.get()
        # Inputs that stand in the first turn are None in the last.
        overlay = {**scope.overlay, "adapter": self._adapter, "warn_on_type_mismatch": False}
        with use(overlay=overlay, trace=None):
            found = await self._react.acall(
                signature=self._signature,
                demos=[_with_call(demo) for demo in self._react.demos],
                **self._words,
                **first,
                **{TURNS: Turns(turns, self._shown), TOOLS: self._tools},
            )
        self._note = None
        calls = found.tool_calls
        turn = Turn(found.next_thought or "", self._numbered(calls), thoughts=calls.thoughts if calls else ())
        if trace is not None:
            trace.append((self._react, {**self._inputs, "trajectory": trajectory.text}, _as_text(turn)))
        return turn

    def _numbered(self, calls: Any) -> tuple[ToolCall, ...]:
        number = len(self._turns)
        return tuple(
            ToolCall(call.name, call.args, call.id or f"call_{number}_{place}")
            for place, call in enumerate(calls or ())
        )

    def told(self, turn: Turn, results: Sequence[Result], trajectory: Trajectory) -> None:
        """Calls and results become a turn."""
        texts = [short(text_of(result.value), trajectory.most) for result in results]
        failed = [result.is_error for result in results]
        record = {
            "tool_calls": ToolCalls(tool_calls=turn.calls, thoughts=turn.thoughts),
            "tool_call_results": ToolCallResults.from_tool_calls_and_values(turn.calls, texts, failed),
        }
        self._turns.append(
            (len(trajectory.steps), {"next_thought": turn.thought, **record} if turn.thought else record)
        )

    def unread(self, note: str) -> None:
        """No provider takes broken calls back, so the model is told in words."""
        self._note = note


def _with_calls(signature: Any) -> Any:
    """The signature as it is asked natively: with turns, tools and calls, and inputs that may be left out."""
    kept = signature.compiled.templates
    if "agent calls" not in kept:
        fields: dict[str, Any] = {
            one.name: (_present(one.annotation), InputField(desc=one.desc, prefix=one.given_prefix))
            for one in signature.compiled.inputs
        }
        fields[TURNS] = (History, InputField(default=None))
        fields[TOOLS] = (list[Tool], InputField(default=None))
        fields["next_thought"] = (str, OutputField(default="", desc=signature.fields["next_thought"].desc))
        fields["tool_calls"] = (ToolCalls | None, OutputField())
        made = kept["agent calls"] = make_signature(fields, signature.instructions, signature.__name__)
        spelled = signature.compiled.fields
        made.compiled.templates[FIRST_CALL] = [spelled[name] for name in ("next_tool_name", "next_tool_args")]
    return kept["agent calls"]


def _present(annotation: Any) -> Any:
    """The type without None: an input that is None is then left out, and not written as one."""
    if not is_optional(annotation):
        return annotation
    members = [one for one in annotation.__args__ if one is not type(None)]
    return members[0] if len(members) == 1 else Any


def _with_call(demo: Any) -> dict[str, Any]:
    """A demo of the text form, its call as one of the provider's."""
    values = {**dict(demo.items()), TURNS: None, TOOLS: None}
    name, args = values.pop("next_tool_name", None), values.pop("next_tool_args", None)
    return {**values, "tool_calls": ToolCalls(tool_calls=(ToolCall(name, args or {}),))} if name else values


def _as_text(turn: Turn) -> Prediction:
    call = turn.calls[0] if turn.calls else ToolCall(FINISH)
    return Prediction(next_thought=turn.thought, next_tool_name=call.name, next_tool_args=dict(call.args))


def agent_signature(signature: type[Signature], tools: Sequence[str]) -> Any:
    """What an agent is asked in each step: the task's inputs and the trajectory give a thought and a call."""
    outputs = ", ".join(f"`{name}`" for name in signature.output_fields)
    fields = {
        **signature.input_fields,
        "trajectory": (str, InputField(desc="the steps so far, and what each tool gave")),
        "next_thought": (str, OutputField(desc="what is known by now, and what to do next")),
        "next_tool_name": (Literal[tuple(tools)], OutputField(desc="the tool to call")),
        "next_tool_args": (dict[str, Any], OutputField(default_factory=dict, desc="its arguments, one JSON object")),
    }
    return make_signature(
        fields,
        f"{signature.instructions}\n\nYou work towards {outputs} step by step, with tools. In each step think about what is "
        f"known and what is missing, then call a tool. When nothing is missing any more, call `{FINISH}`; you are asked "
        f"for {outputs} afterwards.",
        signature.__name__,
    )
