"""Code that a model wrote: out of its reply, with its functions, into a sandbox; and what the model is told of it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from dspex.app.app import current_app
from dspex.app.lm import LM
from dspex.core.errors import ConfigurationError, ToolError, ToolInputError
from dspex.core.identity import plain
from dspex.core.sandbox import Output
from dspex.plugin.contracts import CodeTool
from dspex.program.named_functions import function_data, tool_data
from dspex.program.types.code import Code
from dspex.program.types.tool import Tool
from dspex.program.values import render
from dspex.runtime.callbacks import Emission

SUBMIT = "SUBMIT"
NOTHING = "(it printed nothing)"
_CUT = "(more was cut)"
_LOST = "(all variables are gone: what is still needed has to be defined again)"
_ASSIGNED = re.compile(r"(\w+)\s*=(?!=)[^\n]*\Z")


def code_in(reply: Any) -> str:
    """The program in a reply. Raises ValueError, in words that a model understands."""
    code = Code.parse(render(reply)).code.strip("\n")
    if not code.strip():
        raise ValueError("there is no code in it")
    return code


def with_last_value(code: str) -> str:
    """Code whose last line, if it gives something a name, has that as its value."""
    found = _ASSIGNED.match(code.rstrip().rsplit("\n", 1)[-1])
    return code if found is None else f"{code.rstrip()}\n{found[1]}"


def with_words(signature: Any, *texts: str) -> Any:
    """A signature with more said: at each call, so that no rewritten prompt can lose it."""
    text = "\n\n".join(one for one in texts if one)
    if not text:
        return signature
    kept = signature.compiled.templates
    if ("code", text) not in kept:
        kept["code", text] = signature.append_instructions(text)
    return kept["code", text]


def told(output: Output) -> str:
    """What a run gave, as the model reads it."""
    value = "" if output.value is None else render(output.value)
    parts = [output.stdout.rstrip("\n"), value, output.error]
    notes = [_CUT] * output.truncated + [_LOST] * output.lost
    return "\n".join(filter(None, [*parts, *notes])) or NOTHING


def recipe(program: Any, *names: str) -> dict[str, Any] | None:
    """What makes a program of code again; None where it was given a sandbox of the user's, or a model that has no name."""
    sub_lm = getattr(program, "sub_lm", None)
    if not (program.sandbox is None or isinstance(program.sandbox, str)) or not (
        sub_lm is None or isinstance(sub_lm, LM)
    ):
        return None
    kept = {name: getattr(program, name) for name in ("max_iters", "sandbox", *names)}
    functions: dict[str, Any] = {}
    if tools := getattr(program, "tools", None):
        functions["tools"] = [tool_data(tool) for tool in tools.values()]
    if summarise := getattr(program, "summarise", None):
        functions["summarise"] = function_data("summarise", summarise)
    if sub_lm is not None:
        functions["sub_lm"] = sub_lm.dump_state()
    limits = msgspec.to_builtins(program.limits)
    return {"signature": program.signature.to_json_schema(), **kept, "limits": limits, **functions}


# Functions in the code


def code_tools(tools: Mapping[str, Tool]) -> dict[str, CodeTool]:
    """Tools as a sandbox takes them."""
    return {name: _callable_in_code(tool) for name, tool in tools.items()}


def _callable_in_code(tool: Tool) -> CodeTool:
    names = list(tool.args)

    async def call(*positional: Any, **given: Any) -> Any:
        named = dict(zip(names, positional, strict=False))
        if len(positional) > len(names) or named.keys() & given.keys():
            raise ToolInputError(f"{tool.name}({', '.join(names)}) was called with arguments that do not fit.")
        told = {"tool_name": tool.name, "args": {**named, **given}}
        async with Emission(current_app().settings.callbacks, "interpreter_tool_call", tool, told) as emission:
            emission.outputs = gave = as_data(await tool.acall(**named, **given))
        return gave

    return call


def as_data(value: Any) -> Any:
    """A value as JSON data; what has no form in JSON, as its text."""
    try:
        return plain(value)
    except TypeError:
        return render(value) if isinstance(value, dict | list | tuple) else str(value)


def described(tools: Iterable[Tool]) -> str:
    """What functions the code may call, in words."""
    lines = [f"- `{tool.name}({', '.join(map(_argument, tool.args.items()))})`: {tool.desc}" for tool in tools]
    return "\n".join(["Functions that the code may call, without importing them:", *lines]) if lines else ""


def _argument(item: tuple[str, Mapping[str, Any]]) -> str:
    name, schema = item
    kind = schema.get("type")
    return f"{name}: {kind}" if isinstance(kind, str) else name


def refuse_names(names: Iterable[str], taken: Iterable[str], owner: str) -> None:
    """Raises ConfigurationError for a name that code, or a prompt, has for something else."""
    for name in sorted(set(names) & set(taken)):
        raise ConfigurationError(f"{owner} has a {name!r} of its own: choose another name.")


# The end of the work


class Submitted(Exception):
    """The code has handed in its outputs; no error, and nothing that the code could catch."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(f"{SUBMIT} was called")
        self.values = values


class Submission:
    """`SUBMIT` in the code: takes the outputs by name, in their order, or as one dict, and ends the run."""

    def __init__(
        self, names: Sequence[str], check: Callable[[dict[str, Any]], dict[str, Any]] = lambda values: values
    ) -> None:
        self._names = list(names)
        self._check = check

    async def __call__(self, *positional: Any, **given: Any) -> None:
        """Raises Submitted, or ToolError for what lacks an output or is of a wrong type."""
        values = self._named(positional, given)
        missing = [name for name in self._names if name not in values]
        if missing or len(values) > len(self._names):
            raise ToolError(f"{SUBMIT} takes {', '.join(self._names)}; it was given {', '.join(values) or 'nothing'}.")
        try:
            values = self._check(values)
        except ValueError as error:
            raise ToolError(f"{SUBMIT}: {error}") from error
        raise Submitted(values)

    def _named(self, positional: tuple[Any, ...], given: dict[str, Any]) -> dict[str, Any]:
        if len(positional) > len(self._names):
            raise ToolError(f"{SUBMIT} takes {', '.join(self._names)}; it was given {len(positional)} values.")
        [first, *_] = positional or (None,)
        if isinstance(first, dict) and len(positional) == 1 and not given and first.keys() & set(self._names):
            return {name: first[name] for name in self._names if name in first}
        return {**dict(zip(self._names, positional, strict=False)), **given}
