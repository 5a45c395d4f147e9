"""Programs as the tools of an MCP server."""

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from contextvars import copy_context
from typing import Any

from mcp import types
from mcp.server.lowlevel import Server

import dspex
from dspex import Budget, ConfigurationError, DspexError, Module, Prediction, Tool, ToolError
from dspex.app.app import current_app
from dspex.core.identity import plain


class ProgramServer:
    """An MCP server whose tools are `programs`: one, a list, or a dict by the tools' names; functions and Tools are too.

    A program with a signature takes its inputs, and gives its outputs as structured content; another one takes what its
    `forward` takes. What goes wrong is told to the client as the tool's error. `budget` bounds each call, `timeout_s` its
    time. It runs under the settings that are in force where it is made. Raises ConfigurationError.
    """

    def __init__(
        self,
        programs: Any,
        *,
        name: str = "dspex",
        instructions: str | None = None,
        budget: Budget | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self.tools = {tool.name: tool for tool in _tools(programs, timeout_s)}
        if not self.tools:
            raise ConfigurationError("An MCP server needs a program to offer.")
        self._outputs = {one: schema for one, schema in _outputs(programs).items() if schema}
        self._budget = budget
        self._context = copy_context()
        self.server: Server[Any] = Server(
            name,
            version=dspex.__version__,
            instructions=instructions,
            on_list_tools=self._list,
            on_call_tool=self._call,
            get_tool_input_schema=lambda name: (
                self.tools[name].definition["parameters"] if name in self.tools else None
            ),
        )

    async def _list(self, _context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=tool.name,
                    description=tool.desc,
                    input_schema=tool.definition["parameters"],
                    output_schema=self._outputs.get(tool.name),
                )
                for tool in self.tools.values()
            ]
        )

    async def _call(self, _context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        run = self._run(params.name, params.arguments or {})
        # A transport's task has the context of its own beginning.
        return await asyncio.get_running_loop().create_task(run, context=self._context.copy())

    async def _run(self, name: str, arguments: Mapping[str, Any]) -> types.CallToolResult:
        tool = self.tools.get(name)
        try:
            if tool is None:
                raise ToolError(f"There is no tool {name!r:.80}. Tools: {', '.join(self.tools)}.")
            with nullcontext() if self._budget is None else dspex.budget(**_limits(self._budget)):
                return _result(await tool.acall(**arguments))
        except DspexError as error:
            text = current_app().redact(str(error))
            return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)


def _limits(budget: Budget) -> dict[str, Any]:
    return {name: getattr(budget, name) for name in budget.__struct_fields__}


# What is offered


def _named(programs: Any) -> list[tuple[str | None, Any]]:
    if isinstance(programs, Mapping):
        return [*programs.items()]
    return [(None, one) for one in programs] if isinstance(programs, Sequence) else [(None, programs)]


def _tools(programs: Any, timeout_s: float | None) -> list[Tool]:
    found = [_tool(one, name, timeout_s) for name, one in _named(programs)]
    names = [tool.name for tool in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(f"Two programs bear the name {twice[0]!r}: give a dict of programs by their names.")
    return found


def _tool(program: Any, name: str | None, timeout_s: float | None) -> Tool:
    if isinstance(program, Tool):
        return program
    if not isinstance(program, Module):
        return Tool(program, name, timeout_s=timeout_s)
    title = name or _title(program)
    signature = signature_of(program)
    if signature is None:
        runs = getattr(program, "aforward", None) or getattr(program, "forward", None)
        if runs is None:
            raise ConfigurationError(f"{title} has neither `forward` nor `aforward`.")
        return Tool(
            _Calls(program, inspect.signature(runs)),
            title,
            _about(program),
            arg_types=_hints(runs),
            timeout_s=timeout_s,
        )
    fields = signature.compiled.inputs
    inputs = {field.name: {**field.schema, **({"description": field.desc} if field.desc else {})} for field in fields}
    keywords = [inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY) for field in fields]
    return Tool(
        _Calls(program, inspect.Signature(keywords)),
        title,
        signature.instructions,
        inputs,
        {field.name: field.constrained for field in fields},
        required=[field.name for field in fields if field.required],
        timeout_s=timeout_s,
    )


class _Calls:
    """A program as a function with the arguments that it has."""

    def __init__(self, program: Module, signature: inspect.Signature) -> None:
        self.program = program
        self.__signature__ = signature

    async def __call__(self, /, **inputs: Any) -> Any:
        return await self.program.acall(**inputs)


def _hints(function: Any) -> dict[str, Any]:
    hints = inspect.get_annotations(function, eval_str=True)
    return {name: kind for name, kind in hints.items() if name in inspect.signature(function).parameters}


def signature_of(program: Any) -> Any:
    """The signature of a program that has one: its own, or that of the predictor which it is around."""
    found = getattr(program, "signature", None) or getattr(getattr(program, "predict", None), "signature", None)
    return found if hasattr(found, "compiled") else None


def _title(program: Module) -> str:
    name = program._title or type(program).__name__
    return "".join(
        f"_{letter.lower()}" if letter.isupper() and place else letter.lower() for place, letter in enumerate(name)
    )


def _about(program: Module) -> str:
    return inspect.getdoc(type(program)) or ""


def _outputs(programs: Any) -> dict[str, dict[str, Any]]:
    return {tool.name: _schema(one) for (_, one), tool in zip(_named(programs), _tools(programs, None), strict=True)}


def _schema(program: Any) -> dict[str, Any]:
    signature = signature_of(program) if isinstance(program, Module) else None
    if signature is None:
        return {}
    # None is required: an agent has no reasoning where it was cut short, and what is None is left out.
    return {"type": "object", "properties": {field.name: dict(field.schema) for field in signature.compiled.outputs}}


# What came


def _result(value: Any) -> types.CallToolResult:
    if isinstance(value, dspex.Image):
        kind, _, data = value.url.removeprefix("data:").partition(";base64,")
        if data:
            return types.CallToolResult(content=[types.ImageContent(data=data, mime_type=kind)])
    data = _data(value)
    if not isinstance(data, dict):
        return types.CallToolResult(content=[types.TextContent(text=_text(data))])
    return types.CallToolResult(content=[types.TextContent(text=_text(data))], structured_content=data)


def _data(value: Any) -> Any:
    try:
        if isinstance(value, Prediction):
            return {name: one for name, one in plain(dict(value.items())).items() if one is not None}
        return plain(value)
    except TypeError as error:
        raise ToolError(f"The result has no form in JSON: {error}.") from error


def _text(data: Any) -> str:
    if isinstance(data, str):
        return data
    import json

    return json.dumps(data, ensure_ascii=False)
