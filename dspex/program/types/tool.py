"""Tool: a function that a model may call, with a JSON schema for each of its arguments."""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal, NoReturn

from dspex.app.app import App, current_app
from dspex.core.errors import BudgetExceeded, ConfigurationError, RecursionLimit, ToolError, ToolInputError
from dspex.core.nearest import did_you_mean
from dspex.program.types.arguments import Arguments, arguments_of, declaring, unwrapped
from dspex.program.types.recorded import recorded
from dspex.program.values import render
from dspex.runtime.callbacks import Emission
from dspex.runtime.scope import SCOPE
from dspex.runtime.worker_threads import in_thread

Confirm = Callable[["Tool", Mapping[str, Any]], bool | Awaitable[bool]]

MAX_MESSAGE = 1_000
_NAME = re.compile(r"[\w./:-]{1,128}")
# They end the whole program: no model can do anything about them.
_BEYOND_A_TOOL = (BudgetExceeded, RecursionLimit)


class Tool:
    """A callable as a model sees it: name, description, and `args`, a JSON schema for each argument.

    All is read from `func` unless given. A call takes keywords only, checks and converts them, and waits for async
    functions; `acall` runs sync functions in a thread. `timeout_s` bounds one run; `max_output_chars` the text of its
    result: a longer one becomes a text that is cut. `confirm(tool, arguments)`, sync or async, is asked before each run.
    `idempotent` False: an agent that was killed during a call does not run it again when it goes on. Raises ToolInputError
    for arguments that do not fit, ToolError for all else. A tool is frozen.
    """

    __slots__ = (
        *(
            "arg_types",
            "args",
            "confirm",
            "definition",
            "desc",
            "func",
            "idempotent",
            "max_output_chars",
            "name",
            "timeout_s",
        ),
        *("_arguments", "_is_async"),
    )
    func: Callable[..., Any]
    name: str
    desc: str
    args: Mapping[str, Any]
    arg_types: Mapping[str, Any]
    definition: Mapping[str, Any]
    timeout_s: float | None
    max_output_chars: int | None
    confirm: Confirm | None
    idempotent: bool
    _arguments: Arguments
    _is_async: bool

    def __init__(  # noqa: PLR0917  DSPy's order
        self,
        func: Callable[..., Any],
        name: str | None = None,
        desc: str | None = None,
        args: Mapping[str, Mapping[str, Any]] | None = None,
        arg_types: Mapping[str, Any] | None = None,
        arg_desc: Mapping[str, str] | None = None,
        *,
        required: Iterable[str] | None = None,
        timeout_s: float | None = None,
        max_output_chars: int | None = None,
        confirm: Confirm | None = None,
        idempotent: bool = True,
    ) -> None:
        if isinstance(func, Tool) or not callable(func):
            raise ConfigurationError(f"A tool is made of a callable, not of {func!r:.80}.")
        _check_limits(timeout_s, max_output_chars, confirm)
        arguments = arguments_of(func, args, arg_types, arg_desc, required)
        known = arguments.known
        title = name or _name_of(func)
        if not _NAME.fullmatch(title):
            raise ConfigurationError(f"{title!r:.80} cannot be a tool's name: give Tool(..., name=) a word.")
        text = inspect.cleandoc(desc if desc is not None else _doc_of(func))
        schemas = {key: dict(one.schema) for key, one in known.items()}
        kept = {
            "func": func,
            "name": title,
            "desc": text,
            "args": schemas,
            "arg_types": {key: one.kind for key, one in known.items()},
            "definition": _definition(title, text, schemas, [key for key in known if known[key].required]),
            "timeout_s": timeout_s,
            "max_output_chars": max_output_chars,
            "confirm": confirm,
            "idempotent": idempotent,
            "_arguments": arguments,
            "_is_async": any(map(inspect.iscoroutinefunction, (func, declaring(func)))),
        }
        for key, value in kept.items():
            object.__setattr__(self, key, value)

    @classmethod
    def from_mcp_tool(
        cls,
        session: Any,
        tool: Any,
        *,
        result_mode: Literal["text", "structured"] = "text",
        name: str | None = None,
        timeout_s: float | None = None,
        max_output_chars: int | None = None,
        confirm: Confirm | None = None,
        idempotent: bool | None = None,
    ) -> "Tool":
        """A tool of an MCP server: `session` has an async `call_tool(name, arguments)`, `tool` is one that it lists.

        A result is its text, or a list where it has several parts, pictures as `dspex.Image`; with `result_mode`
        "structured" it is the JSON value that the server sends beside the text, if it does. `idempotent` None: as the
        server says, and not where it says nothing. A sync call needs a session whose loop runs elsewhere. Raises
        ConfigurationError; a call raises ToolInputError and ToolError as any tool's.
        """
        from dspex.program.types.mcp_tool import MCPFunction

        function = MCPFunction(session, tool, result_mode)
        return cls(
            function,
            name or function.name,
            function.title,
            function.args,
            function.arg_types,
            required=function.required,
            timeout_s=timeout_s,
            max_output_chars=max_output_chars,
            confirm=confirm,
            idempotent=function.idempotent if idempotent is None else idempotent,
        )

    # Running

    def __call__(self, /, *positional: Any, **given: Any) -> Any:
        """Run it and wait for its result: a sync function on this thread, unless there is a time or a record to keep."""
        app = current_app()
        if self._is_async and not app.settings.allow_tool_async_sync_conversion:
            raise ToolInputError(
                f"Tool {self.name!r} is async: await its acall, or set allow_tool_async_sync_conversion=True."
            )
        scope = SCOPE.get()
        if self._is_async or self.timeout_s is not None or scope.recorder is not None or scope.deadline is not None:
            return app.bridge.run(self.acall(*positional, **given))
        with Emission(app.settings.callbacks, "tool", self, given, app.bridge.run) as emission:
            values = self._checked(positional, given)
            try:
                if self.confirm is not None:
                    self._approve(_here(app, self.confirm, self, values))
                result = _here(app, self._arguments.call, self.func, values)
            except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a tool raises, it has failed
                self._fail(error)
            emission.outputs = self._bounded(result)
        return emission.outputs

    async def acall(self, /, *positional: Any, **given: Any) -> Any:
        """Run it: an async function on this loop, a sync one in a thread of its own, with this context."""
        scope = SCOPE.get()
        if scope.listener is not None:
            await scope.listener.room()  # a stream's reader who is behind holds tools back too
        async with Emission(current_app().settings.callbacks, "tool", self, given) as emission:
            run: Callable[[], Awaitable[Any]] = partial(self._ran, self._checked(positional, given))
            if scope.deadline is not None:
                run = partial(scope.deadline.bound, run)
            result = await (run() if scope.recorder is None else recorded(scope.recorder, self.name, given, run))
            emission.outputs = self._bounded(result)
        return emission.outputs

    async def _ran(self, values: dict[str, Any]) -> Any:
        limit = asyncio.timeout(self.timeout_s)
        try:
            if self.confirm is not None:
                self._approve(await _on_loop(self.confirm, self, values))
            async with limit:
                return await _on_loop(partial(self._arguments.call, self.func), values, inline=self._is_async)
        except (Exception, SystemExit) as error:  # noqa: BLE001  as above
            if limit.expired():
                raise ToolError(f"Tool {self.name!r} did not end within {self.timeout_s:g} s.") from None
            self._fail(error)

    def _checked(self, positional: tuple[Any, ...], given: Mapping[str, Any]) -> dict[str, Any]:
        shown = ", ".join(f"{name}=" for name in self.args)
        if positional:
            raise ToolInputError(f"Tool {self.name!r} takes its arguments by keyword: {self.name}({shown}).")
        try:
            return self._arguments.checked(given)
        except ValueError as error:
            faults = str(error).rstrip(".")
            message = f"Tool {self.name!r}: {faults}. It takes: {shown or 'no arguments'}"
            raise ToolInputError(message[:MAX_MESSAGE]) from error

    def _approve(self, answer: Any) -> None:
        if not answer:
            raise ToolError(f"Tool {self.name!r} was not run: the call was not approved.")

    def _fail(self, error: BaseException) -> NoReturn:
        if isinstance(error, (ToolError, *_BEYOND_A_TOOL)):
            raise error
        # What the system says of a file has its path; the model, who reads this, is told no paths.
        said = (isinstance(error, OSError) and error.strerror) or str(error)
        message = f"Tool {self.name!r} failed: {type(error).__name__}{said and f': {said}'}"
        raise ToolError(message[:MAX_MESSAGE]) from error

    def _bounded(self, result: Any) -> Any:
        limit = self.max_output_chars
        if limit is None:
            return result
        from dspex.program.types.observed import media_in, text_of

        text, media = text_of(result), media_in(result)
        if len(text) <= limit:
            return result
        short = f"{text[:limit]} ... ({len(text) - limit} more characters were cut)"
        return [short, *media] if media else short

    # As data

    def toDict(self) -> dict[str, Any]:  # noqa: N802  DSPy's name
        """Name, description and arguments as JSON data: how a prompt, and a saved demo, shows the tool."""
        return {"name": self.name, **({"desc": self.desc} if self.desc else {}), "args": dict(self.args)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tool) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash((self.name, self.desc))

    def _identity(self) -> tuple[Any, ...]:
        return self.func, self.definition, self.timeout_s, self.max_output_chars, self.confirm, self.idempotent

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"A Tool is frozen: make a new one with another {name}.")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"A Tool is frozen: its {name} stays.")

    def __copy__(self) -> "Tool":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Tool":
        return self

    def format_as_litellm_function_call(self) -> dict[str, Any]:
        """It in OpenAI's form, for an LM or a client of your own."""
        return {"type": "function", "function": self.definition}

    def __str__(self) -> str:
        desc = f", {self.desc.rstrip('.')}" if self.desc else ""
        return f"{self.name}{desc}. Arguments, as JSON schemas: {render(dict(self.args))}"

    def __repr__(self) -> str:
        return f"Tool({self.name}({', '.join(self.args)}))"


def tools_by_name(functions: Any) -> dict[str, Tool]:
    """Tools out of one, a list or a dict of tools or callables. Raises ConfigurationError where two bear one name."""
    if functions is None:
        return {}
    if isinstance(functions, Mapping):
        return {name: one if isinstance(one, Tool) else Tool(one, name) for name, one in functions.items()}
    found: dict[str, Tool] = {}
    for one in functions if isinstance(functions, Iterable) else (functions,):
        tool = one if isinstance(one, Tool) else Tool(one)
        if tool.name in found:
            raise ConfigurationError(
                f"Two tools bear the name {tool.name!r}: give one of them another, Tool(..., name=)."
            )
        found[tool.name] = tool
    return found


def tool_named(name: str, tools: Mapping[str, Tool]) -> Tool:
    """The tool of that name. Raises ToolInputError that names the nearest."""
    if name in tools:
        return tools[name]
    raise ToolInputError(
        f"There is no tool {name!r:.80}.{did_you_mean(name, tools)} Tools: {', '.join(tools) or 'none'}."
    )


def _check_limits(timeout_s: Any, max_output_chars: Any, confirm: Any) -> None:
    for name, value in (("timeout_s", timeout_s), ("max_output_chars", max_output_chars)):
        if value is not None and not (isinstance(value, (int, float)) and value > 0):
            raise ConfigurationError(f"A tool's {name} is a number above 0, or None for no limit, not {value!r:.80}.")
    if confirm is not None and not callable(confirm):
        raise ConfigurationError(
            f"A tool's confirm is called with the tool and its arguments; a {type(confirm).__name__} cannot be."
        )


def _definition(name: str, desc: str, schemas: Mapping[str, Any], required: list[str]) -> dict[str, Any]:
    """A function in OpenAI's form."""
    parameters = {"type": "object", "properties": schemas, "required": required}
    return {"name": name, **({"description": desc} if desc else {}), "parameters": parameters}


def _name_of(function: Any) -> str:
    inner = unwrapped(function)
    return getattr(inner, "__name__", None) or type(inner).__name__


def _doc_of(function: Any) -> str:
    inner = unwrapped(function)
    if inspect.isroutine(inner) or inspect.isclass(inner):
        return inspect.getdoc(inner) or ""
    return declaring(inner).__doc__ or inspect.getdoc(type(inner)) or ""


def _here(app: App, function: Callable[..., Any], *args: Any) -> Any:
    result = function(*args)
    return app.bridge.run(_awaited(result)) if inspect.isawaitable(result) else result


async def _on_loop(function: Callable[..., Any], *args: Any, inline: bool = False) -> Any:
    result = function(*args) if inline or inspect.iscoroutinefunction(function) else await in_thread(function, *args)
    return await result if inspect.isawaitable(result) else result


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result
