"""A program's functions as data: where each can be imported from, or why no file can name it, and what it took."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import partial, reduce
from typing import Any

from dspex.core.identity import plain
from dspex.program.types.mcp_tool import MCPFunction
from dspex.program.types.tool import Tool

TOP = "define it with `def` at the top of a module"


def function_data(name: str, function: Any) -> dict[str, Any]:
    """What a file keeps of a function: {"name", "function": "package.module:function"}, or "why" there is no such place."""
    place, why = place_of_function(function)
    return {"name": name, "function": place} if place else {"name": name, "why": why}


def tool_data(tool: Tool) -> dict[str, Any]:
    """What a file keeps of a tool: its function, its arguments, and what it was given beside it."""
    try:
        bare: Tool | None = Tool(tool.func)
    except Exception:  # noqa: BLE001  a signature that cannot be read, or types that cannot be looked up
        bare = None
    told = tool.definition["parameters"]
    data: dict[str, Any] = {**function_data(tool.name, tool.func), "args": plain(dict(tool.args))}
    if bare is None or tool.desc != bare.desc:
        data["desc"] = tool.desc
    if bare is None or told != bare.definition["parameters"]:
        data["given_args"], data["required"] = True, list(told["required"])
    if tool.confirm is not None:
        data["confirm"] = function_data(f"{tool.name}.confirm", tool.confirm)
    limits = {"timeout_s": tool.timeout_s, "max_output_chars": tool.max_output_chars}
    return {
        **data,
        **{key: value for key, value in limits.items() if value is not None},
        **({} if tool.idempotent else {"idempotent": False}),
    }


def place_of_function(function: Any) -> tuple[str, str]:
    """("package.module:function", "") where an import gives it again, else ("", why not, and what to do)."""
    why = _why_not(function)
    if why:
        return "", why
    owner, module = _owner(function), str(module_of(function))
    name = function.__qualname__ if owner is None else f"{owner.__qualname__}.{function.__name__}"
    try:
        found: Any = reduce(getattr, name.split("."), sys.modules[module])
    except (AttributeError, KeyError):
        return "", f"it is not found as {module}:{name}; {TOP}"
    if not is_same(found, function):
        return "", f"{module}:{name} is something else; give its function a name of its own there"
    return f"{module}:{name}", ""


def module_of(function: Any) -> str | None:
    """The module that defines a function, or the object that it is a method of."""
    owner = _owner(function)
    return getattr(function if owner is None else owner, "__module__", None)


def _owner(function: Any) -> Any:
    """The function that is a module, where this is one of its methods."""
    owner = function.__self__ if inspect.ismethod(function) else None
    return None if inspect.isclass(owner) else owner


def is_same(found: Any, function: Any) -> bool:
    """Whether what stands at a place is the function, or a tool made of it there."""
    return bool(found == function or (isinstance(found, Tool) and found.func == function))


def _why_not(function: Any) -> str:
    if isinstance(function, MCPFunction):
        return "it is a tool of an MCP server; connect to the server, and give its tools"
    if isinstance(function, partial):
        return f"it is a functools.partial; {TOP} that calls it"
    name = getattr(function, "__qualname__", None)
    if inspect.ismethod(function) and not inspect.isclass(function.__self__):
        name = getattr(function.__self__, "__qualname__", None)
        if name is None:
            return f"it is a method of a {type(function.__self__).__name__}; {TOP} that calls it"
    if not isinstance(name, str):
        return f"it is a {type(function).__name__} that can be called; {TOP} that calls it"
    if name.endswith("<lambda>"):
        return f"it is a lambda; {TOP}"
    if "<locals>" in name:
        return f"it is defined inside {name.partition('.<locals>')[0]}, whose variables no file has; {TOP}"
    if function.__module__ in (None, "__main__"):
        return "it is defined in the script that ran, which other processes cannot import; define it in a module"
    return ""


# Of a whole program


def tools_of(program: Any) -> dict[str, dict[str, Tool]]:
    """The tools of each part that has any, by its path."""
    found = {}
    for path, part in program.named_sub_modules():
        tools = vars(part).get("tools")
        if isinstance(tools, Mapping) and all(isinstance(tool, Tool) for tool in tools.values()):
            # `finish` of an agent is the agent's own.
            own = {name: tool for name, tool in tools.items() if tool.func.__module__ != "dspex.program.tool_use"}
            found.update({path.removeprefix("self."): own} if own else {})
    return found


def tool_facts(program: Any) -> dict[str, dict[str, str]]:
    """The tools' names and what they take, as text, by their parts' paths."""
    return {path: {name: takes(tool) for name, tool in tools.items()} for path, tools in tools_of(program).items()}


def takes(tool: Tool) -> str:
    """What a tool takes: its arguments with their types, those that may be left out with a "?"."""
    required = tool.definition["parameters"]["required"]
    kinds = (f"{name}{'' if name in required else '?'}: {_kind(schema)}" for name, schema in tool.args.items())
    return ", ".join(kinds)


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(repr, schema["enum"]))
    many = schema.get("anyOf") or schema.get("oneOf")
    if many:
        return " | ".join(map(_kind, many))
    kind = schema.get("type", "any")
    items = schema.get("items")
    return f"{kind} of {_kind(items)}" if isinstance(items, Mapping) else str(kind)


def tool_mismatches(program: Any, saved: Mapping[str, Any]) -> Iterator[str]:
    """Where a program's tools are not those that a file was saved with, in words."""
    for path, tools in tool_facts(program).items():
        then = saved.get(path)
        if not isinstance(then, Mapping):
            continue
        of = "" if path == "self" else f" of {path!r}"
        for name in dict.fromkeys((*then, *tools)):
            if name not in tools:
                yield f"tool {name!r}{of} was there when it was saved, and is not here"
            elif name not in then:
                yield f"tool {name!r}{of} is here, and was not there when it was saved"
            elif then[name] != tools[name]:
                yield f"tool {name!r}{of} took ({then[name]}), and here it takes ({tools[name]})"


def entries(recipe: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The functions that a recipe names, as `function_data` has them."""
    for tool in recipe.get("tools") or ():
        yield tool
        if "confirm" in tool:
            yield tool["confirm"]
    for name in ("summarise", "reward_fn"):
        if isinstance(recipe.get(name), Mapping):
            yield recipe[name]
    inner = recipe.get("module")
    if isinstance(inner, Mapping) and isinstance(inner.get("recipe"), Mapping):
        yield from entries(inner["recipe"])
