"""A tool of an MCP server as a function: its arguments out of a JSON schema, its results as values.

Nothing of the package `mcp` is imported: a session is whatever has an async `call_tool(name, arguments)`, and what it gives
is read by the protocol's own names, as version 1 of the package spells them (`inputSchema`) or version 2 (`input_schema`).
"""

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from dspex.core.errors import ConfigurationError, ToolError
from dspex.program.types.arguments import inlined
from dspex.program.types.media import Audio, File, Image
from dspex.program.values import render

LOOP_GRACE_S = 2.0  # for the loop of a session to take a call from another one, before it counts as blocked
MODES = ("text", "structured")
_KINDS: Mapping[str, Any] = MappingProxyType(
    {"string": str, "integer": int, "number": float, "boolean": bool, "array": list[Any], "object": dict[str, Any]}
)


class MCPFunction:
    """Calls one tool of a session, on the session's own `loop`, or where it has none on the loop it was handed over on.

    Gives the result's text, a list where it has several parts, with pictures, sound and files as dspex's own types;
    `mode` "structured" gives the JSON value instead, where the server sends one. Raises ToolError for a failure.
    """

    def __init__(self, session: Any, tool: Any, mode: str) -> None:
        if mode not in MODES:
            raise ConfigurationError(f"result_mode={mode!r}: an MCP tool's result is {' or '.join(map(repr, MODES))}.")
        if not callable(getattr(session, "call_tool", None)):
            raise ConfigurationError(
                f"A {type(session).__name__} has no call_tool: Tool.from_mcp_tool takes an MCP session and one of its tools."
            )
        self.session = session
        self.mode = mode
        self.name: str = tool.name
        self.title: str = tool.description or getattr(tool, "title", None) or ""
        schema = _either(tool, "input_schema", "inputSchema") or {}
        whole = inlined(schema)
        self.args: dict[str, dict[str, Any]] = dict(whole.get("properties", {}))
        self.arg_types = {name: kind for name, one in self.args.items() if (kind := _kind(one)) is not Any}
        self.required = [name for name in whole.get("required", ()) if name in self.args]
        self.idempotent = _is_harmless(getattr(tool, "annotations", None))
        self.__signature__ = _signature(self.args, is_open=bool(whole.get("additionalProperties", not self.args)))
        # What tells it from others in a journal: the session is another one in each process.
        self.cache_key = [getattr(session, "cache_key", ""), self.name, schema, mode]
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    async def __call__(self, /, **arguments: Any) -> Any:
        """One call."""
        result = await self._called(arguments)
        if _either(result, "is_error", "isError"):
            raise ToolError(f"Tool {self.name!r} failed: {_words(result.content) or 'it does not say why'}")
        return value_of(result, self.mode)

    async def _called(self, arguments: dict[str, Any]) -> Any:
        home = getattr(self.session, "loop", None) or self._loop
        if home is None or home is asyncio.get_running_loop():
            return await self.session.call_tool(self.name, arguments)
        return await _elsewhere(home, self.session.call_tool, self.name, arguments)


async def _elsewhere(home: asyncio.AbstractEventLoop, call: Any, name: str, arguments: dict[str, Any]) -> Any:
    """A call on the loop that a session lives on. Raises ToolError where that loop does not run."""
    here, began = asyncio.get_running_loop(), asyncio.Event()

    async def on_it() -> Any:
        here.call_soon_threadsafe(began.set)
        return await call(name, arguments)

    waiting, running = on_it(), home.is_running()
    future = asyncio.run_coroutine_threadsafe(waiting, home) if running else None
    try:
        async with asyncio.timeout(LOOP_GRACE_S if running else 0):
            await began.wait()
    except TimeoutError:
        if future is not None:
            future.cancel()
        waiting.close()
        raise ToolError(
            f"Tool {name!r} was not run: the loop of its MCP session is closed or blocked, as by a sync call on its own "
            "thread. Await `acall` there, or let dspex-mcp keep the session."
        ) from None
    assert future is not None
    return await asyncio.wrap_future(future)


def _either(thing: Any, name: str, older: str) -> Any:
    return getattr(thing, name, None) if hasattr(thing, name) else getattr(thing, older, None)


def _is_harmless(annotations: Any) -> bool:
    """Whether the server says that a call may be made twice; where it says nothing, it may not."""
    return any(_either(annotations, *names) for names in _HARMLESS)


_HARMLESS = (("read_only_hint", "readOnlyHint"), ("idempotent_hint", "idempotentHint"))


def _signature(names: Mapping[str, Any], *, is_open: bool) -> inspect.Signature:
    kind = inspect.Parameter
    known = [kind(name, kind.KEYWORD_ONLY) for name in names if name.isidentifier()]
    return inspect.Signature([*known, *([kind("more", kind.VAR_KEYWORD)] if is_open else [])])


def _kind(schema: Mapping[str, Any]) -> Any:
    """The type of simple schemas, so that what a model writes is checked and converted; Any where the server has to."""
    if choices := schema.get("enum"):
        plain = all(isinstance(choice, str | int | bool | None) for choice in choices)
        return Literal[tuple(choices)] if plain else Any
    name = schema.get("type")
    if not isinstance(name, str) or name not in _KINDS:
        return Any
    items = schema.get("items")
    if name == "array" and isinstance(items, Mapping):
        return list[_kind(items)]  # type: ignore[misc]  # made of data
    return _KINDS[name]


# Results


def value_of(result: Any, mode: str) -> Any:
    """What a call gave."""
    structured = _either(result, "structured_content", "structuredContent")
    if structured is not None and (mode == "structured" or not result.content):
        return structured
    parts = [_part(block) for block in result.content]
    return parts[0] if len(parts) == 1 else parts or ""


def _part(block: Any) -> Any:
    if block.type == "text":
        return block.text
    if block.type == "image":
        return Image(f"data:{_mime(block)};base64,{block.data}")
    if block.type == "audio":
        return Audio(block.data, _mime(block).rpartition("/")[2])
    if block.type == "resource":
        return _resource(block.resource)
    if block.type == "resource_link":
        return " ".join(filter(None, (block.name, block.description, f"({block.uri})")))
    return render(block)


def _resource(resource: Any) -> Any:
    text = getattr(resource, "text", None)
    if text is not None:
        return text
    return File(file_data=f"data:{_mime(resource) or 'application/octet-stream'};base64,{resource.blob}")


def _mime(block: Any) -> str:
    return str(_either(block, "mime_type", "mimeType") or "")


def _words(content: Sequence[Any]) -> str:
    return "\n".join(block.text for block in content if block.type == "text")
