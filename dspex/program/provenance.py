"""What a saved program says of where it is from, and how that differs from where it is loaded."""

import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from dspex.core.errors import SignatureTypeError
from dspex.core.identity import digest
from dspex.core.versions import installed
from dspex.program.document import facts
from dspex.program.named_functions import entries, tool_facts, tool_mismatches

OURS = "dspex.program."

# All that DSPy may find there: it looks each name up among its own.
_VERSIONS = MappingProxyType({"dependency_versions": {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}})


def provenance(program: Any) -> dict[str, Any]:
    """Class or recipe, the signatures' texts and hashes, the versions of dspex and its plugins: for a file's metadata."""
    tools = tool_facts(program)
    signatures = {path: signature_facts(part.signature) for path, part in program.named_predictors()}
    told = {**_VERSIONS, "versions": installed(), "program": said_of(program), "signatures": signatures}
    return {**told, "tools": tools} if tools else told


def said_of(program: Any) -> dict[str, Any]:
    """Where its class is, and how it is made without that, if it can be."""
    recipe = recipe_of(program)
    return {"class": place_of(program), **({} if recipe is None else {"recipe": recipe})}


def obstacles(said: Mapping[str, Any]) -> Iterator[str]:
    """Why `load` could not make a program of what its file says of it, in words."""
    recipe, place = said.get("recipe"), str(said.get("class"))
    if isinstance(recipe, Mapping):
        yield from (f"{one['name']!r} cannot be imported: {one['why']}" for one in entries(recipe) if "why" in one)
        if isinstance(inner := recipe.get("module"), Mapping) and "recipe" not in inner:
            yield from obstacles(inner)
    elif place.startswith(OURS):
        yield f"a {place.partition(':')[2]} was made with what no file can hold, as a sandbox of its own, or a type of your own"
    elif place.startswith("__main__:") or "<" in place:
        yield f"{place} cannot be imported: define it at the top of a module"


def modules_of(said: Mapping[str, Any]) -> list[str]:
    """The modules that making a program imports: those of its functions, or that of its class."""
    recipe = said.get("recipe")
    if not isinstance(recipe, Mapping):
        return [str(said.get("class")).partition(":")[0]]
    inner = recipe.get("module")
    places = [str(one["function"]) for one in entries(recipe) if "function" in one]
    found = {place.partition(":")[0] for place in places}
    return sorted(found.union(modules_of(inner) if isinstance(inner, Mapping) else ()))


def place_of(program: Any) -> str:
    """Where its class is, or for a function the function: "package.module:name"."""
    thing = program if program._title else type(program)
    return f"{thing.__module__}:{thing.__qualname__}"


def recipe_of(program: Any) -> dict[str, Any] | None:
    """How `load` makes it again without an import; None for a program that is more than dspex's own modules."""
    if not type(program).__module__.startswith(OURS):  # a subclass is a user's own
        return None
    try:
        arguments = program._recipe()
    except SignatureTypeError:  # a field of a type that only its user has
        return None
    return None if arguments is None else {"kind": type(program).__name__, **arguments}


def signature_facts(signature: Any) -> dict[str, str]:
    """A signature's fields as text, and a hash that equal names, roles, types, bounds and defaults have in common."""
    compiled = signature.compiled
    fields = [[one.name, one.role, *map(repr, facts(one))] for one in compiled.fields.values()]
    sides = (", ".join(f"{one.name}: {one.type_text}" for one in side) for side in (compiled.inputs, compiled.outputs))
    return {"fields": " -> ".join(sides), "hash": digest(fields)[:16]}


def mismatches(program: Any, metadata: Mapping[str, Any]) -> Iterator[str]:
    """Where a program's signatures and tools are not those that a file was saved with, in words."""
    tools = metadata.get("tools")
    if isinstance(tools, Mapping):
        yield from tool_mismatches(program, tools)
    saved = metadata.get("signatures")
    for path, part in program.named_predictors() if isinstance(saved, Mapping) else ():
        then = saved.get(path) if isinstance(saved, Mapping) else None
        now = signature_facts(part.signature)
        if isinstance(then, Mapping) and then.get("hash") != now["hash"]:
            same = then.get("fields") == now["fields"]
            yield (
                f"predictor {path!r} was saved for `{then.get('fields')}`, and here it is "
                + ("the same with other bounds or defaults" if same else f"`{now['fields']}`")
            )


def versions_of(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Versions by package, as a file has them; in older ones they stand where DSPy has its own."""
    found = metadata.get("versions", metadata.get("dependency_versions"))
    return {str(name): str(one) for name, one in found.items()} if isinstance(found, Mapping) else {}


def other_versions(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Packages that a file was saved with in another version, or that are not here, in words."""
    here = installed()
    for name, version in versions_of(metadata).items():
        ours = name in here or name.startswith("dspex")  # DSPy's files name Python and DSPy
        if ours and here.get(name) != version:
            yield f"{name} {version}, here {here.get(name, 'not installed')}"
