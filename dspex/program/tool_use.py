"""Tools in one run of an agent: what a call gives, how often each may be called, and calls that only repeat others."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dspex.core.errors import ConfigurationError, ToolError
from dspex.core.nearest import did_you_mean
from dspex.program.agent_journal import Memory
from dspex.program.types.observed import packed, text_of, unpacked
from dspex.program.types.tool import Tool, tool_named, tools_by_name
from dspex.program.types.tool_calls import ToolCall

FINISH = "finish"
DONE = "Completed."
CUT_OFF = "The call of {!r} was cut off, and may or may not have had its effect; it is not run a second time."

Allowance = int | Mapping[str, int] | None


class Result(msgspec.Struct, frozen=True):
    """What a call gave: a value, the words of an error, or (`is_refused`) why it was not run."""

    value: Any
    is_error: bool = False
    is_refused: bool = False


def agent_tools(tools: Any, outputs: Sequence[str]) -> dict[str, Tool]:
    """The tools of an agent by name, and `finish`. Raises ConfigurationError for equal names."""
    found = tools_by_name(tools)
    if FINISH in found:
        raise ConfigurationError(
            f"An agent's tool cannot be called {FINISH!r}: that is how it says that it is done. Give Tool(..., name=)."
        )
    named = ", ".join(f"`{name}`" for name in outputs)
    desc = f"Ends the work: all that is needed for {named} has been found."
    return {**found, FINISH: Tool(_finish, FINISH, desc, args={})}


def _finish(**_ignored: Any) -> str:
    # A model may hand its answer over here: it is asked for it next, so that is no fault.
    return DONE


def allowances(given: Allowance, tools: Mapping[str, Tool]) -> dict[str, int]:
    """Calls that each tool is allowed in a run. Raises ConfigurationError for a tool that there is not, or less than 1."""
    named = {name: given for name in tools if name != FINISH} if isinstance(given, int) else dict(given or {})
    for name, most in named.items():
        if name not in tools:
            raise ConfigurationError(f"max_tool_calls names no tool {name!r}.{did_you_mean(name, tools)}")
        if most < 1:
            raise ConfigurationError(
                f"max_tool_calls of {name!r} is {most}: give the agent no tool that it may not call."
            )
    return named


class ToolUse:
    """The calls of one run. A call that is made `max_repeats` times with the same arguments is not run once more."""

    def __init__(
        self, tools: Mapping[str, Tool], allowed: Mapping[str, int], max_repeats: int | None, memory: Memory
    ) -> None:
        self._tools = tools
        self._memory = memory
        self._allowed = allowed
        self._max_repeats = max_repeats
        self._made: Counter[str] = Counter()
        self._same: Counter[tuple[str, str]] = Counter()

    async def results(self, calls: Sequence[ToolCall], turn: int) -> list[Result]:
        """What each call of a turn gives, run side by side; a failing one stops no other.

        Raises what no tool can mend, as BudgetExceeded, when all have ended.
        """
        refused = [self._refusal(call) for call in calls]
        runs = [
            self._result(call, f"call/{turn}/{place}")
            for place, (call, why) in enumerate(zip(calls, refused, strict=True))
            if why is None
        ]
        # One call alone, as nearly all are, needs no task of its own.
        came = [await runs[0]] if len(runs) == 1 else await _side_by_side(runs)
        made = iter(came)
        return [next(made) if why is None else Result(why, is_error=True, is_refused=True) for why in refused]

    def _refusal(self, call: ToolCall) -> str | None:
        """Why a call is not run; one that is gets counted."""
        name = call.name
        if name == FINISH or name not in self._tools:
            return None
        most = self._allowed.get(name)
        if most is not None and self._made[name] >= most:
            return f"Tool {name!r} may be called {most} times in one task, and was; it is not run again."
        key = name, _same(call.args)
        if self._max_repeats is not None and self._same[key] >= self._max_repeats:
            return (
                f"This very call of {name!r} was made {self._same[key]} times before; it is not run again. "
                f"Use what it gave, do something else, or choose `{FINISH}`."
            )
        self._made[name] += 1
        self._same[key] += 1
        return None

    async def _result(self, call: ToolCall, key: str) -> Result:
        kept = self._memory.found(key, Result)
        if kept is not None:
            return msgspec.structs.replace(kept, value=unpacked(kept.value))
        tool = self._tools.get(call.name)
        if tool is not None and not tool.idempotent and not self._memory.begin(key):
            return Result(CUT_OFF.format(call.name), is_error=True)
        try:
            result = Result(await tool_named(call.name, self._tools).acall(**call.args))
        except ToolError as error:
            result = Result(str(error), is_error=True)
        try:
            self._memory.keep(key, msgspec.structs.replace(result, value=packed(result.value)))
        except (UnicodeError, RecursionError):  # half a character, or a list that holds itself
            self._memory.keep(key, msgspec.structs.replace(result, value=text_of(result.value)))
        return result


def _same(args: Mapping[str, Any]) -> str:
    """A text that is equal for equal arguments, whatever the order of their keys."""
    try:
        return msgspec.json.encode(args, order="sorted", enc_hook=repr).decode()
    except (TypeError, ValueError, RecursionError):  # of a caller's own model, which may give anything
        return repr(sorted(args.items()))


async def _side_by_side(runs: Sequence[Any]) -> list[Result]:
    outcomes = await asyncio.gather(*runs, return_exceptions=True)
    results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return results
