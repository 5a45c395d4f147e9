"""What a saved program says of where it is from, and how that differs from where it is loaded."""

import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from dspex.core.errors import SignatureTypeError
from dspex.core.identity import digest
from dspex.core.versions import installed
from dspex.program.document import facts

# All that DSPy may find there: it looks each name up among its own.
_VERSIONS = MappingProxyType({"dependency_versions": {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}})


def provenance(program: Any) -> dict[str, Any]:
    """Class or recipe, the signatures' texts and hashes, the versions of dspex and its plugins: for a file's metadata."""
    recipe = recipe_of(program)
    made = {"class": place_of(program), **({} if recipe is None else {"recipe": recipe})}
    signatures = {path: signature_facts(part.signature) for path, part in program.named_predictors()}
    return {**_VERSIONS, "versions": installed(), "program": made, "signatures": signatures}


def place_of(program: Any) -> str:
    """Where its class is, or for a function the function: "package.module:name"."""
    thing = program if program._title else type(program)
    return f"{thing.__module__}:{thing.__qualname__}"


def recipe_of(program: Any) -> dict[str, Any] | None:
    """How `load` makes it again without an import; None for a program that is more than dspex's own modules."""
    if not type(program).__module__.startswith("dspex.program."):  # a subclass is a user's own
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
    """Where a program's signatures are not those that a file was saved with, in words."""
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
