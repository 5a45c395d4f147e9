"""load: a whole program out of its file.

Programs that are nothing but dspex's own modules and signatures are made of what the file says, and nothing is imported. Of
any other one the file names the class, which is imported only where whoever loads it allows that.
"""

import copy
import importlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from dspex.app.fallback import lm_from_state
from dspex.core.errors import DspexError, ProgramFileError
from dspex.core.sandbox import SandboxLimits
from dspex.program import grammar
from dspex.program.best_of_n import BestOfN
from dspex.program.chain_of_thought import ChainOfThought
from dspex.program.code_act import CodeAct
from dspex.program.fields import FieldInfo, field
from dspex.program.found_functions import Functions, is_allowed
from dspex.program.module import Module
from dspex.program.multi_chain_comparison import MultiChainComparison
from dspex.program.predict import Predict
from dspex.program.program_of_thought import ProgramOfThought
from dspex.program.provenance import OURS
from dspex.program.react import ReAct
from dspex.program.refine import Refine
from dspex.program.rlm import RLM
from dspex.program.saving import read_bytes, read_file, take_over
from dspex.program.signature import Signature, make_signature

Read = Callable[..., Module]

_LITERALS = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d+\.\d+|\.\.\."


def load(
    path: str | Path,
    allow_pickle: bool = False,  # noqa: ARG001  DSPy's; nothing here is pickled
    *,
    allow: Iterable[str] = (),
    custom_types: Mapping[str, Any] | None = None,
    functions: Mapping[str, Any] | None = None,
) -> Module:
    """The program that `Module.save` wrote to a file, with its state and evidence.

    Where the file names a class or a function, as an agent's tools, `allow` has to name its module, or a package around
    it: its code runs. `functions` gives tools and other functions by their names instead, as of those that no file
    can name. Classes of fields that are more than their fields, such as pydantic models, are given by name in
    `custom_types`. Raises ProgramFileError; warns of what takes other arguments now. `allow_pickle` is DSPy's: there is
    none to allow.
    """
    state, metadata = read_file(path)
    allowed = [allow] if isinstance(allow, str) else list(allow)
    try:
        program = _made(state, metadata, Functions(allowed, functions or {}), custom_types)
    except ProgramFileError as error:
        raise ProgramFileError(f"{path}: {error}") from error
    return program.load(path)


def program_of(written: bytes, name: str, allow: Iterable[str]) -> Module:
    """The same of what would stand in a file. Raises ProgramFileError that begins with `name`."""
    state, metadata = read_bytes(written, name)
    try:
        program = _made(state, metadata, Functions(list(allow), {}), None)
    except ProgramFileError as error:
        raise ProgramFileError(f"{name}: {error}") from error
    take_over(program, name, state, metadata)
    return program


def _made(
    state: Mapping[str, Any], metadata: Mapping[str, Any], functions: Functions, custom_types: Mapping[str, Any] | None
) -> Module:
    said = metadata.get("program")
    if not isinstance(said, Mapping):
        return _from_fields(state)
    try:
        functions.check(said["recipe"] if isinstance(said.get("recipe"), Mapping) else {})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, ProgramFileError):
            raise
        raise ProgramFileError(f"Its recipe is damaged: {error!r}.") from error
    return _from_said(said, functions, custom_types)


def _from_said(said: Mapping[str, Any], functions: Functions, custom_types: Mapping[str, Any] | None) -> Module:
    if isinstance(recipe := said.get("recipe"), Mapping):
        return _from_recipe(recipe, functions, custom_types)
    return _from_place(str(said.get("class")), functions.allow)


def _from_place(place: str, allow: Sequence[str]) -> Module:
    """What a class makes without arguments, or a copy of the object."""
    module, _, name = place.partition(":")
    if place.startswith(OURS):
        raise ProgramFileError(
            f"Its program is a {name} that was made with what no file can hold, as a sandbox of its own, or a type of your "
            "own: make the program yourself and load the file into it."
        )
    if not is_allowed(place, allow):
        raise ProgramFileError(
            f"Its program is {place}, whose module would have to be imported, which runs its code. Allow it, "
            f"allow=[{module.partition('.')[0]!r}], or make the program yourself and load the file into it."
        )
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        made = found() if isinstance(found, type) and issubclass(found, Module) else copy.deepcopy(found)
    except (Exception, SystemExit) as error:
        raise ProgramFileError(
            f"Its program {place} cannot be made: {type(error).__name__}: {error}. Make it yourself, and load the file into it."
        ) from error
    if not isinstance(made, Module):
        raise ProgramFileError(f"Its program {place} is a {type(made).__name__}, and no dspex.Module.")
    return made


def _from_recipe(recipe: Mapping[str, Any], functions: Functions, custom_types: Mapping[str, Any] | None) -> Module:
    read = _KINDS.get(str(recipe.get("kind")))
    if read is None:
        raise ProgramFileError(f"Its recipe is of a {recipe.get('kind')!r:.80}; this dspex makes {', '.join(_KINDS)}.")
    try:
        if "module" in recipe:
            return _attempts(read, recipe, _from_said(recipe["module"], functions, custom_types), functions)
        return read(Signature.from_json_schema(recipe["signature"], custom_types), recipe, functions)
    except ProgramFileError:
        raise
    except (DspexError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ProgramFileError(f"Its recipe is damaged: {error!r}.") from error


def _from_fields(state: Mapping[str, Any]) -> Module:
    """The Predict or ChainOfThought whose state names its fields' types, as files did before they had a recipe."""
    try:
        part = state["predict"] if list(state) == ["predict"] else state
        signature = make_signature(dict(_field(row) for row in part["signature"]["fields"]))
    except (KeyError, TypeError, ValueError) as error:
        names = ", ".join(name for name in state if name != "signature")
        raise ProgramFileError(
            f"It does not say what its program is ({names}): {error}. Make the program, and load the file into it."
        ) from error
    return Predict(signature) if part is state else _chain(signature, {}, Functions((), {}))


def _field(row: Mapping[str, Any]) -> tuple[str, tuple[Any, FieldInfo]]:
    name, kind = row["name"], row["type"]
    if "." in re.sub(_LITERALS, "", kind):
        raise ValueError(f"field {name!r} has the type {kind}, which would have to be imported")
    parsed, *_ = grammar.parse(f"{name}: {kind} -> {name}_")
    return parsed.name, (parsed.annotation, field(row["role"]))


# By kind


def _chain(signature: Any, _recipe: Mapping[str, Any], _functions: Functions) -> Module:
    first, *_ = signature.output_fields
    made = ChainOfThought(signature.delete(first))
    made.predict.signature = signature
    return made


def _comparison(signature: Any, recipe: Mapping[str, Any], _functions: Functions) -> Module:
    bare = signature.delete("rationale")
    for number in range(1, recipe["M"] + 1):
        bare = bare.delete(f"reasoning_attempt_{number}")
    made = MultiChainComparison(bare, recipe["M"])
    made.predict.signature = signature
    return made


def _coding(make: Callable[..., Module]) -> Read:
    def read(signature: Any, recipe: Mapping[str, Any], functions: Functions) -> Module:
        given = {name: value for name, value in recipe.items() if name not in ("kind", "signature", "limits")}
        if "tools" in given:
            given["tools"] = functions.tools(recipe)
        if "summarise" in given:
            given["summarise"] = functions.function(recipe["summarise"])
        if "sub_lm" in given:
            given["sub_lm"] = lm_from_state(recipe["sub_lm"])
        return make(signature, limits=msgspec.convert(recipe["limits"], SandboxLimits), **given)

    return read


def _agent(signature: Any, recipe: Mapping[str, Any], functions: Functions) -> Module:
    given = {name: value for name, value in recipe.items() if name not in ("kind", "signature", "tools", "summarise")}
    summarise = functions.optional(recipe, "summarise")
    return ReAct(signature, functions.tools(recipe), summarise=summarise, **given)


def _attempts(make: Read, recipe: Mapping[str, Any], module: Module, functions: Functions) -> Module:
    given = {name: value for name, value in recipe.items() if name not in ("kind", "module", "reward_fn")}
    made: Module = make(module, reward_fn=functions.function(recipe["reward_fn"]), **given)
    return made


_KINDS: Mapping[str, Read] = MappingProxyType(
    {
        "Predict": lambda signature, _recipe, _functions: Predict(signature),
        "ChainOfThought": _chain,
        "MultiChainComparison": _comparison,
        "ProgramOfThought": _coding(ProgramOfThought),
        "CodeAct": _coding(lambda signature, **given: CodeAct(signature, **{"tools": [], **given})),
        "RLM": _coding(RLM),
        "ReAct": _agent,
        "BestOfN": BestOfN,
        "Refine": Refine,
    }
)
